"""How many searches Gemini says there were, and what its answer quotes."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.upstreams.gemini_answer import Reader
from proxy.upstreams.gemini_search import Grounding
from tests.fakes import gemini as fake
from tests.fakes.replies import body_of
from tests.proxy.upstreams.vendor import read_pieces


def told(model: str = "gemini-3-pro", **metadata: Any) -> dict[str, Any]:
    return {"modelVersion": model, "candidates": [{"groundingMetadata": metadata}]}


class TestSearches:
    @pytest.mark.parametrize(
        ("model", "queries", "searches"),
        [
            ("gemini-3-pro", ["a", "b", "a", ""], 2),
            ("gemini-3-pro", [], 0),
            ("gemini-2.5-flash", ["a", "b"], 1),
            ("gemini-2.5-flash", [], 0),
            ("", ["a", "b"], 2),
            ("gemini-3-pro", "ab", 0),
            ("gemini-3-pro", [7, None], 0),
        ],
    )
    def test_are_counted_as_google_bills_them(
        self, model: str, queries: Any, searches: int
    ) -> None:
        grounding = Grounding()

        grounding.read(told(model, webSearchQueries=queries), words="")

        assert grounding.searches == searches

    def test_told_again_in_a_later_event_count_once(self) -> None:
        grounding = Grounding()
        for queries in (["a"], ["a", "b"]):
            grounding.read(told(webSearchQueries=queries), words="")

        assert grounding.searches == 2

    def test_are_unknown_until_the_answer_ends(self) -> None:
        reader = Reader()
        first = fake.chunk(fake.text("abc"), usageMetadata=fake.usage())
        reader.read(fake.event(first)[len(b"data: ") :])

        assert reader.usage is not None
        assert reader.usage.searches is None

        read_pieces(reader, body_of([fake.event(fake.chunk(finish_reason="STOP"))]), [])

        assert reader.usage.searches == 0


class TestCitations:
    def test_count_letters_where_google_counts_bytes(self) -> None:
        metadata = fake.grounding("q", begin=len("Grüße ".encode()), end=len("Grüße süß".encode()))

        (cited,) = Grounding().read(told(**metadata), words="Grüße süß.")

        assert cited == {
            "type": "url_citation",
            "url_citation": {
                "start_index": 6,
                "end_index": 9,
                "url": "https://a.example",
                "title": "a.example",
            },
        }

    def test_come_once_though_they_are_told_twice(self) -> None:
        grounding = Grounding()
        metadata = fake.grounding("q")

        assert len(grounding.read(told(**metadata), words="ab")) == 1
        assert grounding.read(told(**metadata), words="abc") == []

    @pytest.mark.parametrize(
        "metadata",
        [
            fake.grounding("q", end=9),
            fake.grounding("q", begin=2, end=2),
            fake.grounding("q", url="javascript:alert(1)"),
            {"groundingSupports": [{"segment": 7}]},
            {"groundingSupports": [7], "groundingChunks": {}},
            fake.grounding("q") | {"groundingChunks": []},
        ],
    )
    def test_that_make_no_sense_are_left_out(self, metadata: dict[str, Any]) -> None:
        assert Grounding().read(told(**metadata), words="abc") == []
