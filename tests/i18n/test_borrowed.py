"""What libraries say on our pages and in our mails is said as we say it."""

from __future__ import annotations

import pytest
from django.utils.translation import gettext, ngettext, override

from tests.i18n import borrowed, catalogues, glossary, names


def said(id_: str | tuple[str, ...], language: str) -> list[str]:
    """A text of a library in a language, in all the forms that its numbers have."""
    with override(language):
        if isinstance(id_, str):
            return [gettext(id_)]
        return [ngettext(id_[0], id_[1], number) for number in (1, 2, 5, 21)]


class TestReachable:
    def test_texts_of_each_library_are_among_them(self) -> None:
        found = borrowed.reachable(catalogues.ROOT)

        assert "Are you sure you want to sign out?" in found
        assert "Incorrect password." in found
        assert "Enter a valid email address." in found
        assert "This password is entirely numeric." in found
        # Of a template that we have replaced, and of what is switched off.
        assert not any("finalize the signup process" in str(text) for text in found)
        assert not any("sign-in code" in str(text) for text in found)

    @pytest.mark.parametrize("language", catalogues.LANGUAGES)
    def test_each_is_said_in_each_language_in_our_words(self, language: str) -> None:
        wrong = {
            text: glossary.flaw(text, language=language) or "it is not translated"
            for id_ in borrowed.reachable(catalogues.ROOT)
            for text in said(id_, language)
            if glossary.flaw(text, language=language)
            or (text in id_ and text not in names.BORROWED[language])
        }

        assert wrong == {}


class TestTexts:
    def test_what_a_library_says_well_stays_its_own(self) -> None:
        ours = {message.id for message in borrowed.texts(catalogues.ROOT)}

        assert "Be patient, you are sending too many requests." in ours
        assert "This password is entirely numeric." not in ours

    def test_what_another_library_says_before_it_does_not(self) -> None:
        ours = {message.id for message in borrowed.texts(catalogues.ROOT)}

        assert "Enter a valid email address." in ours
