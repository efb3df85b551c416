"""Readers of German are addressed formally, also where a library speaks."""

from __future__ import annotations

import pytest
from django.utils.translation import gettext, override

from tests.i18n import borrowed, catalogues, test_catalogues


class TestTexts:
    def test_what_pages_of_accounts_say_is_among_them(self) -> None:
        found = {message.id for message in borrowed.texts(catalogues.ROOT)}

        assert "Are you sure you want to sign out?" in found
        # Of a template that we have replaced.
        assert not any("finalize the signup process" in str(text) for text in found)

    def test_our_words_come_before_theirs(self) -> None:
        with override("de"):
            said = [gettext(str(message.id)) for message in borrowed.texts(catalogues.ROOT)]

        assert [text for text in said if borrowed.FAMILIAR.search(text)] == []

    def test_nothing_of_ours_is_familiar(self) -> None:
        forms = [
            form
            for message in test_catalogues.messages("de")
            for form in test_catalogues.texts(message.string)
        ]

        assert [form for form in forms if borrowed.FAMILIAR.search(form)] == []

    @pytest.mark.parametrize("text", ["Hast du schon ein Konto?", "Dein Passwort", "für dich"])
    def test_the_familiar_is_known(self, text: str) -> None:
        assert borrowed.FAMILIAR.search(text)

    @pytest.mark.parametrize("text", ["Ihr Passwort", "durch die Bank", "Indien"])
    def test_the_formal_is_none(self, text: str) -> None:
        assert not borrowed.FAMILIAR.search(text)
