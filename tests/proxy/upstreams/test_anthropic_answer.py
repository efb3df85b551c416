"""Anthropic's answers: streamed in any pieces they say what they say whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstreams import anthropic_answer
from proxy.upstreams.anthropic_answer import Reader, read_usage
from proxy.wire.answers import Garbage, Usage
from tests.fakes import anthropic as fake
from tests.fakes.replies import body_of
from tests.proxy.upstreams.vendor import read_pieces, told_whole

WORDS = st.text(min_size=1, max_size=30)
BLOCKS = st.lists(
    st.one_of(
        st.builds(fake.text, WORDS),
        st.builds(fake.cited, WORDS, WORDS, WORDS),
        st.builds(lambda query: fake.searched(query, "https://a.example")[0], WORDS),
        st.builds(lambda query: fake.searched(query, "https://a.example")[1], WORDS),
        st.builds(fake.thinking, WORDS, WORDS),
        st.builds(lambda data: {"type": "redacted_thinking", "data": data}, WORDS),
        st.builds(lambda n, words: fake.tool_use(f"t{n}", "f", a=words), st.integers(), WORDS),
        st.builds(lambda n: fake.tool_use(f"t{n}", "g"), st.integers()),
        st.just({"type": "from_the_future"}),
    ),
    min_size=1,
    max_size=5,
)


class TestReader:
    @given(blocks=BLOCKS, cuts=st.lists(st.integers(1, 200), max_size=20))
    def test_says_what_the_whole_answer_says(
        self, blocks: list[dict[str, Any]], cuts: list[int]
    ) -> None:
        counts = {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 9}
        whole = anthropic_answer.completion(
            json.dumps(fake.envelope(blocks, counts, "end_turn")).encode()
        )
        reader = Reader()

        streamed = read_pieces(reader, body_of(fake.events(blocks, counts)), cuts)

        assert streamed == told_whole(whole)
        assert reader.usage == whole.usage
        # Arguments may be written with other white space.
        if "tool_calls" not in streamed:
            assert reader.size_bytes == whole.size_bytes
        assert (reader.finished, reader.done, reader.error) == (True, True, None)
        assert reader.upstream_id == whole.upstream_id == "msg_upstream"

    @pytest.mark.parametrize(
        "data", [b"7", b"{", b"{}", b'{"type": "message_start"}', b'{"type": "message_delta"}']
    )
    def test_refuses_what_is_no_event(self, data: bytes) -> None:
        with pytest.raises(Garbage):
            Reader().read(data)

    def test_passes_over_events_of_kinds_to_come(self) -> None:
        assert Reader().read(b'{"type": "from_the_future"}') == []
        assert Reader().read(b"") == []


class TestSearches:
    BLOCKS = [
        *fake.searched("news", "https://a.example"),
        fake.cited("So.", "https://a.example", "A"),
    ]

    @pytest.mark.parametrize(
        ("counts", "searches"),
        [
            ({}, 1),
            ({"server_tool_use": None}, 1),
            ({"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 0}}, 3),
        ],
    )
    def test_are_counted_as_told_or_as_seen(self, counts: dict[str, Any], searches: int) -> None:
        told = {"input_tokens": 5, "output_tokens": 9, **counts}
        whole = anthropic_answer.completion(
            json.dumps(fake.envelope(self.BLOCKS, told, "end_turn")).encode()
        )

        assert whole.usage is not None
        assert whole.usage.searches == searches

    def test_what_is_quoted_is_told_in_openais_words(self) -> None:
        told = {"input_tokens": 5, "output_tokens": 9}
        blocks = [fake.text("Look: "), *self.BLOCKS]
        whole = anthropic_answer.completion(
            json.dumps(fake.envelope(blocks, told, "end_turn")).encode()
        )

        message = whole.fields["choices"][0]["message"]
        assert message["content"] == "Look: So."
        assert message["annotations"] == [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": 6, "end_index": 9, "url": "https://a.example", "title": "A",
                },
            }
        ]  # fmt: skip


class TestReadUsage:
    @pytest.mark.parametrize(
        ("usage", "buckets"),
        [
            ({"input_tokens": 1, "output_tokens": 2}, Usage(1, 0, 0, 2, 0)),
            (
                {
                    "input_tokens": 1,
                    "cache_read_input_tokens": 3,
                    "cache_creation_input_tokens": 4,
                    "cache_creation": {"ephemeral_5m_input_tokens": 4},
                    "output_tokens": 9,
                    "output_tokens_details": {"thinking_tokens": 5},
                },
                Usage(1, 3, 4, 9, 5),
            ),
            ({"cache_read_input_tokens": None, "output_tokens": 2}, Usage(0, 0, 0, 2, 0)),
            ({"input_tokens": 1}, None),
            ({"input_tokens": True, "output_tokens": 1}, None),
            ({"input_tokens": 2**40, "output_tokens": 1}, None),
            ({"output_tokens": 1, "output_tokens_details": 7}, None),
            ({"output_tokens": 1, "cache_creation": 7}, None),
            ("7", None),
        ],
    )
    def test_splits_what_adds_up(self, usage: Any, buckets: Usage | None) -> None:
        assert read_usage(usage) == buckets
