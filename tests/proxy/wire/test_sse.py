"""Splitting a byte stream into events, whatever the pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import sse

LINES = st.lists(
    st.sampled_from(
        [b"data: a", b"data: {}", b"data:b", b"data: ", b": note", b"event: x", b"", b"", b"id: 1"]
    ),
    max_size=30,
)


def decode(pieces: list[bytes]) -> list[bytes]:
    decoder = sse.Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


class TestDecoder:
    @given(
        lines=LINES,
        ending=st.sampled_from([b"\n", b"\r\n", b"\r"]),
        cuts=st.lists(st.integers(0, 400), max_size=40),
    )
    def test_gives_the_same_events_however_the_bytes_are_cut(
        self, lines: list[bytes], ending: bytes, cuts: list[int]
    ) -> None:
        whole = b"".join(line + ending for line in lines)
        places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
        pieces = [whole[a:b] for a, b in itertools.pairwise(places)]

        assert decode(pieces) == decode([b"".join(line + b"\n" for line in lines)])

    def test_joins_data_lines_and_passes_over_the_rest(self) -> None:
        text = b": hello\nevent: x\ndata: one\ndata:two\nid: 7\n\n\n\ndata: three\n\n"

        assert decode([text]) == [b"one\ntwo", b"three"]

    @pytest.mark.parametrize("size", [1, 2, 100])
    def test_passes_over_a_mark_at_the_beginning_only(self, size: int) -> None:
        mark = "\ufeff".encode()
        text = mark + b"data: a\n\n" + mark + b"data: b\n\ndata: c\n\n"

        assert decode([text[i : i + size] for i in range(0, len(text), size)]) == [b"a", b"c"]

    def test_an_unfinished_event_is_not_given(self) -> None:
        assert decode([b"data: one\n"]) == []

    @pytest.mark.parametrize("text", [b"data: " + b"x" * 200, b"data: 123456\n" * 30])
    def test_refuses_an_event_without_an_end(self, text: bytes) -> None:
        decoder = sse.Decoder(limit_bytes=100)

        with pytest.raises(sse.EventTooLong):
            decoder.feed(text)
