"""What travels to a provider that speaks OpenAI's API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.upstreams import openai
from proxy.upstreams.base import Target
from proxy.wire import chat
from proxy.wire.answers import Garbage


def sent(
    *,
    kind: str = "openai",
    limit_name: str = "max_tokens",
    clamped: int | None = None,
    drop: frozenset[str] = frozenset(),
    **fields: Any,
) -> dict[str, Any]:
    """Return the body that a provider gets."""
    messages = [{"role": "user", "content": "hello"}]
    call = chat.parse(json.dumps({"model": "m", "messages": messages} | fields).encode())
    target = Target(
        base_url="http://up/v1",
        api_key="secret",
        upstream_model="up",
        limit_name=limit_name,
        kind=kind,
        request_id="req_1",
        output_limit=clamped,
        drop=drop,
    )
    return openai.body(target=target, call=call)


class TestBody:
    def test_keeps_unknown_fields_and_drops_what_it_is_told(self) -> None:
        body = sent(brand_new=[1, 2], logprobs=True, user=None, drop=frozenset({"logprobs"}))

        assert body["model"] == "up"
        assert body["brand_new"] == [1, 2]
        assert not {"logprobs", "user", "max_tokens"} & body.keys()

    def test_what_we_consume_never_travels(self) -> None:
        consumed: dict[str, Any] = {
            "models": ["other"],
            "provider": {"order": ["x"]},
            "async": True,
        }

        assert not (consumed.keys() | {"sandbox"}) & sent(**consumed, sandbox={}).keys()

    def test_the_sandbox_gets_its_knobs(self) -> None:
        assert sent(kind="sandbox", sandbox={"delay_ms": 1})["sandbox"] == {"delay_ms": 1}

    @pytest.mark.parametrize(("given", "clamped", "told"), [(7, None, 7), (None, 9, 9)])
    def test_names_the_limit_as_the_model_does(
        self, given: int | None, clamped: int | None, told: int
    ) -> None:
        body = sent(max_tokens=given, clamped=clamped, limit_name="max_completion_tokens")

        assert body["max_completion_tokens"] == told
        assert "max_tokens" not in body

    def test_always_asks_a_stream_for_its_usage(self) -> None:
        body = sent(stream=True, stream_options={"include_obfuscation": False})

        assert body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def read(reader: Any, **choice: Any) -> list[dict[str, Any]]:
    """Feed one chunk; return the tool calls it then has."""
    chunk = {"id": "1", "choices": [{"index": 0, "delta": choice}]}
    [told] = reader.read(json.dumps(chunk).encode())
    calls: list[dict[str, Any]] = told["choices"][0]["delta"]["tool_calls"]
    return calls


class TestToolCallsWithoutAnIndex:
    def test_a_new_id_opens_the_next_call(self) -> None:
        reader = openai.Reader()

        def call(id: str | None, arguments: str) -> dict[str, Any]:
            named = {"id": id, "type": "function"} if id else {}
            return named | {"function": {"arguments": arguments}}

        first = read(reader, tool_calls=[call("a", "{")])
        more = read(reader, tool_calls=[call(None, "}")])
        second = read(reader, tool_calls=[call("b", "{}")])

        assert [calls[0]["index"] for calls in (first, more, second)] == [0, 0, 1]
        assert second[0]["id"] == "b"


class TestChoicesOfAStream:
    @pytest.mark.parametrize(
        ("choice", "told"),
        [
            ({"delta": {"content": "a"}}, {"delta": {"content": "a"}, "index": 0}),
            ({"index": "0", "delta": {}}, {"index": 0, "delta": {}}),
            (
                {"index": 1, "delta": None, "finish_reason": "stop"},
                {"index": 1, "delta": {}, "finish_reason": "stop"},
            ),
            (
                {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"},
                {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"},
            ),
            (
                {"index": 0, "delta": {"content": "b"}, "message": {"content": "ab"}},
                {"index": 0, "delta": {"content": "b"}},
            ),
            (
                {"index": 0, "delta": {"content": [{"type": "text", "text": "ab"}]}},
                {"index": 0, "delta": {"content": "ab"}},
            ),
        ],
    )
    def test_are_brought_into_shape(self, choice: dict[str, Any], told: dict[str, Any]) -> None:
        [chunk] = openai.Reader().read(json.dumps({"choices": [choice]}).encode())

        assert chunk["choices"] == [told]

    @pytest.mark.parametrize(
        "delta", [{"content": 5}, {"tool_calls": {"a": 1}}, {"tool_calls": [5]}]
    )
    def test_that_no_client_could_read_are_garbage(self, delta: dict[str, Any]) -> None:
        with pytest.raises(Garbage):
            openai.Reader().read(json.dumps({"choices": [{"delta": delta}]}).encode())

    def test_may_be_null_beside_the_usage(self) -> None:
        reader = openai.Reader()
        usage = {"prompt_tokens": 1, "completion_tokens": 1}

        assert reader.read(json.dumps({"choices": None, "usage": usage}).encode()) == []
        assert reader.usage is not None

    def test_are_all_to_end_before_the_stream_has(self) -> None:
        reader = openai.Reader(choices=2)
        for index, whole in ((0, False), (0, False), (1, True)):
            end = {"index": index, "delta": {}, "finish_reason": "stop"}
            reader.read(json.dumps({"choices": [end]}).encode())
            assert reader.finished is whole


class TestUsageOfAStream:
    def test_that_shrinks_is_not_believed(self) -> None:
        reader = openai.Reader()
        for output in (50, 2):
            usage = {"prompt_tokens": 100, "completion_tokens": output}
            reader.read(json.dumps({"id": "1", "choices": [], "usage": usage}).encode())

        assert (reader.usage, reader.contradicted) == (None, True)
