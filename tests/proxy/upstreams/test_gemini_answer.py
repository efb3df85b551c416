"""Gemini's answers: streamed in any pieces they say what they say whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstreams import gemini_answer
from proxy.upstreams.gemini_answer import Reader, read_usage
from proxy.wire.answers import Garbage, Usage
from tests.fakes import gemini as fake
from tests.fakes.replies import body_of
from tests.proxy.upstreams.vendor import read_pieces, told_whole

WORDS = st.text(min_size=1, max_size=30)
PARTS = st.lists(
    st.one_of(
        st.builds(fake.text, WORDS),
        st.builds(lambda words: fake.text(words, thought=True), WORDS),
        st.builds(
            lambda n, words: fake.function_call("f", id_=f"c{n}", a=words), st.integers(), WORDS
        ),
        st.builds(lambda n: fake.function_call("g", id_=f"c{n}"), st.integers()),
        st.just({"executableCode": {"code": "1"}}),
    ),
    min_size=1,
    max_size=5,
)


class TestReader:
    @given(parts=PARTS, cuts=st.lists(st.integers(1, 200), max_size=20))
    def test_says_what_the_whole_answer_says(
        self, parts: list[dict[str, Any]], cuts: list[int]
    ) -> None:
        usage = fake.usage(cachedContentTokenCount=2, thoughtsTokenCount=4)
        whole = gemini_answer.completion(
            json.dumps(fake.chunk(*parts, finish_reason="STOP", usageMetadata=usage)).encode()
        )
        reader = Reader()

        streamed = read_pieces(reader, body_of(fake.events(*parts, usage=usage)), cuts)

        assert streamed == told_whole(whole)
        assert reader.usage == whole.usage == Usage(8, 2, 0, 7, 4, searches=0)
        assert reader.size_bytes == whole.size_bytes
        assert (reader.finished, reader.error) == (True, None)
        assert reader.upstream_id == whole.upstream_id == "resp-upstream"

    @pytest.mark.parametrize("data", [b"7", b"{", b"{}", b'{"candidates": [7]}'])
    def test_refuses_what_is_no_answer(self, data: bytes) -> None:
        with pytest.raises(Garbage):
            Reader().read(data)

    @pytest.mark.parametrize("content", [{"parts": 7}, {"parts": [7]}])
    def test_refuses_content_that_is_none(self, content: dict[str, Any]) -> None:
        with pytest.raises(Garbage):
            Reader().read(json.dumps({"candidates": [{"content": content}]}).encode())


class TestReadUsage:
    @pytest.mark.parametrize(
        ("usage", "buckets"),
        [
            ({"promptTokenCount": 3}, Usage(3, 0, 0, 0, 0)),
            (
                {
                    "promptTokenCount": 10,
                    "cachedContentTokenCount": 4,
                    "toolUsePromptTokenCount": 1,
                    "candidatesTokenCount": 5,
                    "thoughtsTokenCount": 6,
                    "totalTokenCount": 22,
                },
                Usage(7, 4, 0, 11, 6),
            ),
            ({"promptTokenCount": 3, "totalTokenCount": 4}, None),
            ({"promptTokenCount": 3, "cachedContentTokenCount": 4}, None),
            ({"promptTokenCount": 3.5}, None),
            ({"candidatesTokenCount": 3}, None),
            ([], None),
        ],
    )
    def test_splits_what_adds_up(self, usage: Any, buckets: Usage | None) -> None:
        assert read_usage(usage) == buckets
