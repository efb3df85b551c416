"""Counted things in each language: 1, 2, 5, 21 and what comes between."""

from __future__ import annotations

import pytest
from django.template.loader import render_to_string
from django.utils.translation import ngettext, override

from tests.i18n import catalogues

REQUESTS = {
    "en": {
        0: "requests",
        1: "request",
        2: "requests",
        5: "requests",
        11: "requests",
        21: "requests",
    },
    "de": {
        0: "Anfragen",
        1: "Anfrage",
        2: "Anfragen",
        5: "Anfragen",
        11: "Anfragen",
        21: "Anfragen",
    },
    "ru": {
        0: "запросов",
        1: "запрос",
        2: "запроса",
        5: "запросов",
        11: "запросов",
        12: "запросов",
        21: "запрос",
        22: "запроса",
        25: "запросов",
        111: "запросов",
        1002: "запроса",
    },
}
DAYS = {
    ("en", 1): "is good for 1 day",
    ("en", 7): "is good for 7 days",
    ("de", 1): "gilt 1 Tag ",
    ("de", 7): "gilt 7 Tage ",
    ("ru", 1): "действует 1 день",
    ("ru", 3): "действует 3 дня",
    ("ru", 7): "действует 7 дней",
    ("ru", 21): "действует 21 день",
}


class TestForms:
    @pytest.mark.parametrize(
        ("language", "count", "noun"),
        [(code, count, noun) for code, nouns in REQUESTS.items() for count, noun in nouns.items()],
    )
    def test_a_count_takes_its_form(self, language: str, count: int, noun: str) -> None:
        with override(language):
            text = ngettext("%(requests)s request", "%(requests)s requests", count)

        assert text % {"requests": count} == f"{count} {noun}"

    @pytest.mark.parametrize(("language", "days"), DAYS)
    def test_a_template_takes_it_too(self, language: str, days: int) -> None:
        with override(language):
            text = render_to_string("account/email/invitation_message.txt", {"days": days})

        # A number and its unit stay on one line.
        assert DAYS[language, days] in text.replace("\xa0", " ")

    def test_russian_has_three_forms_of_each_counted_text(self) -> None:
        counted = [message for message in catalogues.read("ru") if message.pluralizable]

        assert len(counted) > 10
        forms = [message.string for message in counted if isinstance(message.string, tuple)]
        assert len(forms) == len(counted)
        assert {len(each) for each in forms} == {3}
