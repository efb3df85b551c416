"""The request body: typed, ranged, bounded, and what travels on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import chat
from proxy.wire.call import BadRequest, Call


def parse(**fields: Any) -> Call:
    messages = [{"role": "user", "content": "hello"}]
    return chat.parse(json.dumps({"model": "m", "messages": messages} | fields).encode())


class TestParse:
    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"messages": "hello"}, "messages"),
            ({"messages": []}, "messages"),
            ({"messages": [{"content": "x"}]}, "messages[0].role"),
            ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
            ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
            ({"model": ""}, "model"),
            ({"model": "x" * 129}, "model"),
            ({"temperature": 2.1}, "temperature"),
            ({"temperature": "hot"}, "temperature"),
            ({"top_p": -0.1}, "top_p"),
            ({"presence_penalty": 3}, "presence_penalty"),
            ({"n": 0}, "n"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": 1.5}, "max_tokens"),
            ({"stream": "yes"}, "stream"),
            ({"stop": ["x"] * 11}, "stop"),
            ({"stop": 7}, "stop"),
            ({"seed": "a"}, "seed"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(BadRequest) as refused:
            parse(**fields)

        assert (refused.value.reason, refused.value.param) == ("invalid_parameter", param)

    @pytest.mark.parametrize(
        "fields",
        [
            {"prediction": {"type": "content"}},
            {"audio": {}},
            {"service_tier": "priority"},
            {"modalities": ["text", "audio"]},
            {"tools": [{"type": "web_search"}]},
        ],
    )
    def test_refuses_what_has_no_bounded_price(self, fields: dict[str, Any]) -> None:
        with pytest.raises(BadRequest) as refused:
            parse(**fields)

        assert refused.value.reason == "unpriced_parameter"

    @given(st.text(max_size=200))
    def test_bounds_the_prompt_by_its_bytes(self, text: str) -> None:
        text = text.encode("utf-8", "ignore").decode()
        call = parse(messages=[{"role": "user", "content": text}])

        assert call.prompt_bytes >= len(text.encode())

    def test_counts_pictures_apart_from_text(self) -> None:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9999}}
        call = parse(
            messages=[{"role": "user", "content": [picture, {"type": "text", "text": "?"}]}]
        )

        assert call.pictures == 1
        assert call.prompt_bytes < 200

    def test_counts_tools_and_earlier_tool_calls(self) -> None:
        arguments = "x" * 500
        turn = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": arguments}}],
        }
        tool = {"type": "function", "function": {"name": "f", "description": "y" * 300}}

        assert parse(messages=[turn], tools=[tool]).prompt_bytes > 800


class TestTooDeep:
    @given(st.integers(1, 200))
    def test_counts_levels(self, depth: int) -> None:
        body = b"[" * depth + b"]" * depth

        assert chat.too_deep(body) == (depth > chat.DEEPEST)

    def test_brackets_in_text_are_no_levels(self) -> None:
        assert not chat.too_deep(json.dumps({"a": "[{" * 500 + '\\"['}).encode())
