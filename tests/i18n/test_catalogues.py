"""The catalogues: in step with the source, whole, and with nothing lost on the way."""

from __future__ import annotations

import re
from typing import Final

import pytest
from babel.messages.catalog import Catalog, Message
from django.utils.translation import gettext, override

from tests.i18n import catalogues, english, names

PLACEHOLDER: Final = re.compile(r"%\(\w+\)[a-z]|%%|</?\w[^>]*>|\{\w*\}")
FORMS: Final = {"de": 2, "en": 2, "ru": 3}


def texts(forms: object) -> tuple[str, ...]:
    """One text or the forms of one, without those that are missing."""
    each = forms if isinstance(forms, (tuple, list)) else (forms,)
    return tuple(str(form) for form in each if form)


def frame(text: str) -> tuple[list[str], str, str]:
    """What has to survive a translation: placeholders and tags, space before and after."""
    body = text.strip()
    before, after = text.partition(body)[0], text.rpartition(body)[2]
    return sorted(PLACEHOLDER.findall(text)), before, after


def complaint(message: Message, language: str) -> str:
    """What is wrong with a translation, or nothing."""
    source, found = texts(message.id), texts(message.string)
    if message.fuzzy or len(found) != (1 if len(source) == 1 else FORMS[language]):
        return "it is not translated"
    if any(frame(form) != frame(source[-1]) for form in found):
        return "a placeholder, a tag or a space at an end is another one"
    if found[0] == source[0] and source[0] not in names.SAME[language]:
        return "it equals its source and is not on the list of names"
    return ""


def said(language: str) -> list[str]:
    """Every translation of a catalogue."""
    return [text for message in messages(language) for text in texts(message.string)]


def messages(language: str) -> list[Message]:
    """Every text of a catalogue."""
    return [message for message in catalogues.read(language) if message.id]


@pytest.mark.parametrize("language", catalogues.LANGUAGES)
class TestCatalogues:
    def test_it_has_every_text_of_the_source(self, language: str) -> None:
        known = {message.id for message in messages(language)}

        missing = [each.id for each in catalogues.template() if each.id and each.id not in known]
        assert missing == [], "run `make messages` and translate"

    def test_it_is_written_as_the_command_writes_it(self, language: str) -> None:
        again = catalogues.updated(language, catalogues.read(language))

        assert catalogues.po_path(language).read_bytes() == catalogues.po(again)

    def test_the_compiled_file_is_made_from_the_text(self, language: str) -> None:
        again = catalogues.updated(language, catalogues.read(language))

        assert catalogues.mo_path(language).read_bytes() == catalogues.mo(again), "make messages"

    def test_every_text_is_translated_and_keeps_its_placeholders(self, language: str) -> None:
        wrong = {
            texts(message.id)[0]: told
            for message in messages(language)
            if (told := complaint(message, language))
        }

        assert wrong == {}

    def test_the_list_of_names_names_nothing_else(self, language: str) -> None:
        same = {
            texts(message.id)[0]
            for message in messages(language)
            if texts(message.id)[0] == texts(message.string)[0]
        }

        assert names.SAME[language] - same == set()


class TestRenamed:
    def test_english_says_in_other_words_all_that_is_renamed_and_nothing_else(self) -> None:
        asked = {message.id for message in catalogues.renamed() if message.id}

        assert {message.id for message in messages(catalogues.ENGLISH)} == asked
        assert all(not english.RENAMED.search(text) for text in said(catalogues.ENGLISH))

    @pytest.mark.parametrize("title", english.TITLES)
    def test_headings_and_buttons_have_one_capital_letter(self, title: str) -> None:
        with override("en"):
            said_now = gettext(title)

        assert said_now == said_now.capitalize()

    def test_every_text_keeps_its_placeholders(self) -> None:
        told = [complaint(message, "en") for message in messages(catalogues.ENGLISH)]

        assert set(told) == {""}

    def test_the_compiled_file_is_made_from_the_text(self) -> None:
        again = catalogues.updated("en", catalogues.read("en"))

        assert catalogues.po_path("en").read_bytes() == catalogues.po(again)
        assert catalogues.mo_path("en").read_bytes() == catalogues.mo(again), "make messages"

    @pytest.mark.parametrize("language", ["de", "en", "ru"])
    def test_a_key_of_a_person_is_a_passkey_everywhere(self, language: str) -> None:
        with override(language):
            words = gettext("Security Keys")

        assert words == {"de": "Passkeys", "en": "Passkeys", "ru": "Ключи доступа"}[language]


class TestComplaint:
    @pytest.mark.parametrize(
        ("source", "translation", "told"),
        [
            ("Save", "", "not translated"),
            (("%(n)s row", "%(n)s rows"), ("%(n)s Zeile", ""), "not translated"),
            ("Save", "Save", "equals its source"),
            ("%(n)s rows", "%(m)s Zeilen", "placeholder"),
            ("%(n)d rows", "%(n)s Zeilen", "placeholder"),
            ("50 %% of it", "50 % davon", "placeholder"),
            ("<b>%(n)s</b> rows", "%(n)s Zeilen", "placeholder"),
            (" or ", "oder", "space"),
            (("%(n)s row", "%(n)s rows"), ("eine Zeile", "%(n)s Zeilen"), "placeholder"),
        ],
    )
    def test_what_is_wrong_is_told(
        self, source: str | tuple[str, str], translation: str | tuple[str, str], told: str
    ) -> None:
        assert told in complaint(Message(source, translation), "de")

    def test_what_nobody_is_sure_of_is_not_translated(self) -> None:
        assert complaint(Message("Save", "Speichern", flags=("fuzzy",)), "de")

    @pytest.mark.parametrize(
        ("source", "translation"),
        [("Save", "Speichern"), ("API", "API"), (("%(n)s row", "%(n)s rows"), ("%(n)s", "%(n)s"))],
    )
    def test_what_is_right_is_not_complained_about(
        self, source: str | tuple[str, str], translation: str | tuple[str, str]
    ) -> None:
        assert complaint(Message(source, translation), "de") == ""


class TestTemplate:
    def test_texts_of_templates_and_of_modules_are_found_with_their_plurals(self) -> None:
        found: Catalog = catalogues.template()

        assert found.get('Type <code class="select-all">%(expected)s</code> to go on')
        assert found.get("You have joined the workspace.")
        requests = found.get(("%(requests)s request", "%(requests)s requests"))
        assert requests
        assert requests.pluralizable

    def test_the_admin_site_stays_in_english(self) -> None:
        folders = {path.relative_to(catalogues.ROOT).parts[:2] for path in catalogues.sources()}

        assert ("templates", "admin") not in folders
        assert ("accounts", "admin.py") not in folders
