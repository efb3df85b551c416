from __future__ import annotations

import hashlib
import hmac
from binascii import crc32

from hypothesis import given
from hypothesis import strategies as st

from accounts import keytext
from common.ids import BASE62

KEY = "sk-ng-00000000000000000000000000" + keytext.checksum("0" * 26)


def number_of(text: str) -> int:
    value = 0
    for character in text:
        value = value * 62 + BASE62.index(character)
    return value


class TestChecksum:
    @given(st.text(BASE62, min_size=26, max_size=26))
    def test_it_is_crc32_in_six_base62_digits(self, random: str) -> None:
        text = keytext.checksum(random)
        assert len(text) == 6
        assert number_of(text) == crc32(random.encode())

    def test_digits_come_before_capitals_before_small_letters(self) -> None:
        assert BASE62 == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class TestMint:
    def test_it_has_the_prefix_and_32_characters(self) -> None:
        text = keytext.mint(prefix="sk-tg-")
        assert text.startswith("sk-tg-")
        assert len(text) == len("sk-tg-") + 32

    def test_it_is_well_formed_and_new_each_time(self) -> None:
        texts = {keytext.mint(prefix="sk-tg-") for _ in range(1000)}
        assert len(texts) == 1000
        assert all(keytext.well_formed(text) for text in texts)


class TestWellFormed:
    def test_any_prefix_will_do(self) -> None:
        random = keytext.mint(prefix="")
        assert all(
            keytext.well_formed(prefix + random) for prefix in ("", "sk-", "hello_", "x" * 64)
        )

    def test_each_change_of_one_character_is_noticed(self) -> None:
        key = keytext.mint(prefix="")
        changed = (
            key[:place] + other + key[place + 1 :]
            for place in range(len(key))
            for other in BASE62
            if other != key[place]
        )
        assert not any(keytext.well_formed(text) for text in changed)

    @given(st.text(max_size=80))
    def test_junk_is_not(self, text: str) -> None:
        assert not keytext.well_formed(text)

    def test_spaces_newlines_and_foreign_letters_are_not(self) -> None:
        for text in (
            " " + KEY,
            KEY + " ",
            KEY + "\n",
            "ключ-" + KEY,
            KEY[:-1] + "é",
            "x" * 65 + KEY,
        ):
            assert not keytext.well_formed(text)
        assert keytext.well_formed(KEY)


class TestDigests:
    def test_they_are_hmac_sha256_under_each_pepper(self) -> None:
        peppers = {"new": b"n" * 32, "old": b"o" * 32}
        expected = [hmac.new(p, KEY.encode(), hashlib.sha256).digest() for p in peppers.values()]
        assert keytext.digests(KEY, peppers=peppers) == expected

    def test_the_first_pepper_is_the_current_one(self) -> None:
        peppers = {"new": b"n" * 32, "old": b"o" * 32}
        digest = keytext.digest(KEY, pepper=b"n" * 32)
        assert keytext.current_digest(KEY, peppers=peppers) == ("new", digest)


class TestShownPrefix:
    def test_it_is_what_stands_before_the_secret(self) -> None:
        assert keytext.shown_prefix(KEY) == "sk-ng-"

    def test_of_a_foreign_key_it_ends_at_a_separator(self) -> None:
        assert keytext.shown_prefix("sk-or-v1-abcdef0123456789") == "sk-or-v1-"
        assert keytext.shown_prefix("abcdef0123456789abcdef") == ""
