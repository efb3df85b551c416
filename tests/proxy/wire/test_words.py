"""The short way of a chunk of words tells what the long way tells."""

from __future__ import annotations

import json
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange import Exchange
from proxy.routing import Leg
from proxy.surfaces.chat import ChatRendering
from proxy.upstreams import openai
from proxy.wire import words

WORDS = {
    "id": "up-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "up",
    "choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": None}],
}
ODD = [
    {"choices": []},
    {"choices": [*WORDS["choices"], *WORDS["choices"]]},  # type: ignore[misc]
    {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "a"}]}}]},
    {"choices": [{"index": 0, "delta": {"content": [{"text": "x"}]}}]},
    {"choices": [{"index": 0, "delta": {"content": "x"}, "message": {"content": "x"}}]},
    {"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": {"content": []}}]},
    {"choices": [{"delta": {"content": "x"}}]},
    {"choices": [{"index": 0}]},
    {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}},
    {"error": {"message": "no"}},
    {"error": "no"},
    {"service_tier": "gpu-7.inside.example"},
    {"system_fingerprint": "https://inside.example"},
    {"citations": [{"cost": 1}]},
]
TEXT = st.none() | st.text(max_size=8)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("role", "content", "refusal", "reasoning", "reasoning_content"), TEXT),
        **dict.fromkeys(("tool_calls", "function_call", "annotations", "images"), st.none()),
        "reasoning_details": st.none(),
        "x_provider": st.integers(),
    },
)
CHOICE = st.fixed_dictionaries(
    {"index": st.integers(0, 3), "delta": DELTA},
    optional={"logprobs": st.none(), "finish_reason": st.none(), "native_reason": st.text()},
)
CHUNK = st.fixed_dictionaries(
    {"choices": st.tuples(CHOICE).map(list)},
    optional={
        "id": st.text(max_size=8),
        "model": st.text(max_size=8),
        "usage": st.none(),
        "error": st.none(),
        "provider": st.text(max_size=8),
        "service_tier": st.sampled_from(["default", "priority", None]),
        "system_fingerprint": st.from_regex(r"fp_[a-f0-9]{1,10}", fullmatch=True) | st.none(),
        "citations": st.none() | st.lists(st.just("https://a.example/b"), max_size=2),
    },
)


class AnExchange:
    """What a rendering asks of an exchange."""

    answer_id = "chatcmpl-1"
    created = 7
    id = UUID(int=0)

    def __init__(self, *, include_usage: bool) -> None:
        self.call = cast(Any, type("call", (), {"include_usage": include_usage, "model": "m"}))

    def name_of(self, leg: Leg) -> str:
        """Return the model's name."""
        return "m"


def rendering(*, include_usage: bool) -> ChatRendering:
    """Return what writes a stream."""
    return ChatRendering(cast(Exchange, AnExchange(include_usage=include_usage)))


class TestRead:
    @given(chunk=CHUNK, include_usage=st.booleans())
    def test_words_are_told_and_counted_as_the_long_way_does(
        self, chunk: dict[str, Any], include_usage: bool
    ) -> None:
        data = json.dumps(chunk).encode()
        short, long = openai.Reader(), openai.Reader()
        leg = cast(Leg, None)
        one, other = (rendering(include_usage=include_usage) for _ in range(2))
        found = short.words(data)
        assert found is not None
        told = one.words(found, leg)
        [read] = long.read(data)
        expected = other.chunk(read, leg)
        assert json.loads(told.removeprefix(b"data: ")) == json.loads(
            expected.removeprefix(b"data: ")
        )
        assert told.endswith(b"\n\n")
        assert short.size_bytes == long.size_bytes
        assert short.upstream_id == long.upstream_id
        assert one.open == other.open

    @pytest.mark.parametrize("odd", ODD, ids=repr)
    def test_what_says_more_than_words_is_left_alone(self, odd: dict[str, Any]) -> None:
        reader = openai.Reader()
        assert reader.words(json.dumps(WORDS | odd).encode()) is None
        assert (reader.size_bytes, reader.upstream_id) == (0, "")

    @pytest.mark.parametrize("data", [b"", b"[DONE]", b"{", b"[]", b'{"choices": null}', b"\xff"])
    def test_what_is_no_chunk_is_left_alone(self, data: bytes) -> None:
        assert words.read(data) is None
