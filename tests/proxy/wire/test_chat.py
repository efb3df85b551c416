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
            ({"logit_bias": {"50256": -101}}, "logit_bias[...]"),
            ({"store": "yes"}, "store"),
            ({"verbosity": "loud"}, "verbosity"),
            ({"reasoning_effort": "extreme"}, "reasoning_effort"),
            ({"prompt_cache_key": 7}, "prompt_cache_key"),
            ({"prompt_cache_retention": "1h"}, "prompt_cache_retention"),
            ({"prompt_cache_options": {"mode": "maybe"}}, "prompt_cache_options.mode"),
            ({"safety_identifier": "x" * 129}, "safety_identifier"),
            ({"functions": [{"description": "no name"}]}, "functions[0].name"),
            ({"function_call": "always"}, "function_call"),
            ({"tool_choice": "any"}, "tool_choice"),
            ({"tools": [{"type": "function"}]}, "tools[0].function"),
            ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
            ({"tools": [{"type": "custom"}]}, "tools[0].custom"),
            ({"response_format": {"type": "grammar"}}, "response_format.type"),
            ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
            ({"top_logprobs": 21}, "top_logprobs"),
            ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
            ({"metadata": {"a": "x" * 513}}, "metadata[...]"),
            (
                {"web_search_options": {"search_context_size": "x"}},
                "web_search_options.search_context_size",
            ),
            ({"messages": [{"role": "tool", "tool_call_id": 7}]}, "messages[0].tool_call_id"),
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
            {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
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

    @pytest.mark.parametrize("field", ["x" * 900, ["x" * 900], {"y": "x" * 900}])
    def test_counts_what_only_the_provider_knows(self, field: Any) -> None:
        bare, more = parse(), parse(chat_template=field)
        assert more.prompt_bytes >= bare.prompt_bytes + 900


class TestModeration:
    def test_is_refused_because_its_verdict_would_be_lost(self) -> None:
        with pytest.raises(BadRequest) as refused:
            parse(moderation={"model": "omni-moderation-latest"})

        assert (refused.value.reason, refused.value.param) == (
            "unsupported_parameter",
            "moderation",
        )


class TestTooDeep:
    @given(st.integers(1, 200))
    def test_counts_levels(self, depth: int) -> None:
        body = b"[" * depth + b"]" * depth

        assert chat.too_deep(body) == (depth > chat.DEEPEST)

    def test_brackets_in_text_are_no_levels(self) -> None:
        assert not chat.too_deep(json.dumps({"a": "[{" * 500 + '\\"['}).encode())


class TestWhatTheHoldCovers:
    @pytest.mark.parametrize(
        "fields",
        [
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"arguments": "x" * 9000}}]}
                ]
            },
            {"functions": [{"name": "f", "description": "x" * 9000}]},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x" * 64, "d": "x" * 9000},
                }
            },
            {"chat_template_kwargs": {"text": "x" * 9000}},
            {"messages": [{"role": "user", "name": "x" * 9000, "content": "a"}]},
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "u", "t": "x" * 9000}}
                        ],
                    }
                ]
            },
        ],
    )
    def test_is_every_text_that_a_provider_may_count(self, fields: dict[str, Any]) -> None:
        assert parse(**fields).prompt_bytes > 9000

    @pytest.mark.parametrize("kind", ["file", "input_audio", "video_url", None, ["text"], {}, 1])
    def test_a_part_without_a_bound_is_refused(self, kind: str | None) -> None:
        with pytest.raises(BadRequest) as refused:
            parse(messages=[{"role": "user", "content": [{"type": kind}]}])

        assert refused.value.reason == "unpriced_parameter"
        assert refused.value.param == "messages[0].content[0].type"
