from __future__ import annotations

import pytest

from proxy.sandbox.words import count, lorem, pieces


class TestCount:
    @pytest.mark.parametrize(
        ("text", "tokens"), [("", 0), ("  \n", 0), ("one", 1), (" a  b\nc\t", 3), ("привет мир", 2)]
    )
    def test_a_token_is_a_word(self, text: str, tokens: int) -> None:
        assert count(text) == tokens


class TestPieces:
    @pytest.mark.parametrize("text", ["one", " a  b\nc\t", "x y z", "日本 語\u2003ok "])
    def test_one_piece_per_word_and_nothing_is_lost(self, text: str) -> None:
        assert "".join(pieces(text)) == text
        assert len(pieces(text)) == count(text)

    def test_no_words_are_no_pieces(self) -> None:
        assert pieces(" \n ") == []


class TestLorem:
    def test_it_is_the_same_each_time_and_has_the_length_asked_for(self) -> None:
        assert lorem(100) == lorem(100)
        assert count("".join(lorem(100))) == 100
        assert "".join(lorem(3)) == "lorem ipsum dolor"
