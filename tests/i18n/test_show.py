"""Figures and dates in each language: exact, with the reader's own signs."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from django.utils.translation import override

from accounts import egress, webhookdeliveries
from accounts.templatetags import show, words
from billing.models import TopUp
from proxy.models import Attempt, Model

MOMENT = datetime(2026, 3, 9, 7, 5, 1, tzinfo=UTC)


class TestUsd:
    @pytest.mark.parametrize(
        ("language", "shown"),
        [("en", "1,234,567.89"), ("de", "1.234.567,89"), ("ru", "1\xa0234\xa0567,89")],
    )
    def test_a_balance_has_the_readers_signs(self, language: str, shown: str) -> None:
        with override(language):
            assert show.usd(1_234_567_899_999_999) == shown

    @pytest.mark.parametrize(("language", "shown"), [("en", "-0.50"), ("de", "-0,50")])
    def test_less_than_nothing_has_its_sign(self, language: str, shown: str) -> None:
        with override(language):
            assert show.usd(-500_000_000) == shown


class TestSpentUsd:
    @pytest.mark.parametrize(
        ("nanos", "shown"),
        [(0, "0.00"), (4_999_999, "0.00"), (5_000_000, "0.01"), (999_525_300, "1.00")],
    )
    def test_what_was_spent_is_told_to_the_nearest_cent(self, nanos: int, shown: str) -> None:
        assert show.spent_usd(nanos) == shown


class TestExactUsd:
    @pytest.mark.parametrize(
        ("language", "shown"), [("en", "0.000123457"), ("de", "0,000123457"), ("ru", "0,000123457")]
    )
    def test_no_digit_is_lost(self, language: str, shown: str) -> None:
        with override(language):
            assert show.exact_usd(123_457) == shown

    def test_a_sum_that_no_float_holds_stays_exact(self) -> None:
        with override("de"):
            assert show.exact_usd(9_007_199_254_740_993) == "9.007.199,254740993"


class TestDollars:
    @pytest.mark.parametrize(
        ("language", "shown"),
        [("en", "$1,234.50"), ("de", "1.234,50\xa0$"), ("ru", "1\xa0234,50\xa0$")],
    )
    def test_the_sign_stands_where_the_reader_looks_for_it(self, language: str, shown: str) -> None:
        with override(language):
            assert show.dollars(show.usd(1_234_500_000_000)) == shown

    @pytest.mark.parametrize(("language", "shown"), [("en", "-$0.50"), ("de", "-0,50\xa0$")])
    def test_a_debt_has_its_minus_first(self, language: str, shown: str) -> None:
        with override(language):
            assert show.dollars(show.usd(-500_000_000)) == shown


class TestGrouped:
    @pytest.mark.parametrize(
        ("number", "shown"),
        [(1234567, "1.234.567"), ("12345.6789", "12.345,6789"), (-1000, "-1.000"), (0, "0")],
    )
    def test_thousands_stand_apart(self, number: int | str, shown: str) -> None:
        with override("de"):
            assert show.grouped(number) == shown


class TestDates:
    @pytest.mark.parametrize(
        ("language", "shown"),
        [
            ("en", "2026-03-09 07:05:01"),
            ("de", "09.03.2026 07:05:01"),
            ("ru", "09.03.2026 07:05:01"),
        ],
    )
    def test_a_time_is_written_as_the_reader_writes_it(self, language: str, shown: str) -> None:
        with override(language):
            assert show.utc(MOMENT) == shown

    @pytest.mark.parametrize("day", [date(2026, 3, 9), "2026-03-09", MOMENT])
    def test_a_day_too_whatever_holds_it(self, day: date | str) -> None:
        with override("ru"):
            assert show.day(day) == "09.03.2026"

    @pytest.mark.parametrize(
        ("language", "shown"),
        [("en", "November 2026"), ("de", "November 2026"), ("ru", "ноябрь 2026")],
    )
    def test_a_month_has_its_name_as_within_a_sentence(self, language: str, shown: str) -> None:
        with override(language):
            assert show.month("2026-11") == shown

    def test_machines_read_the_same_time_in_every_language(self) -> None:
        with override("ru"):
            assert show.iso(MOMENT) == "2026-03-09T07:05:01+00:00"


class TestPercent:
    @pytest.mark.parametrize(
        ("language", "shown"), [("en", "12.5%"), ("de", "12,5\xa0%"), ("ru", "12,5\xa0%")]
    )
    def test_a_share_has_the_readers_sign(self, language: str, shown: str) -> None:
        with override(language):
            assert show.percent(0.125) == shown


class TestComplaint:
    """What became of a delivery is kept in English and shown in the reader's language."""

    @pytest.mark.parametrize(
        "text",
        [
            *map(webhookdeliveries._complaint, (302, 404, 503)),
            str(egress.NotPublic()),
            "No answer within 15 seconds.",
        ],
    )
    def test_it_is_told_in_each_language(self, text: str) -> None:
        for language in ("de", "ru"):
            with override(language):
                assert words.complaint(text) != text

    def test_its_number_stays(self) -> None:
        with override("de"):
            assert "503" in words.complaint("It answered 503.")

    @pytest.mark.parametrize("text", ["It answered 503.", "Nobody knows %(number)s.", ""])
    def test_english_and_what_is_not_known_stay_as_they_are(self, text: str) -> None:
        with override("en"):
            assert words.complaint(text) == text


class TestReason:
    """What the ledger notes beside a line is for machines, what pages show is for readers."""

    @pytest.mark.parametrize(
        ("language", "shown"),
        [("en", "1,234.01 ETH"), ("de", "1.234,01 ETH"), ("ru", "1\xa0234,01 ETH")],
    )
    def test_coins_have_the_readers_signs(self, language: str, shown: str) -> None:
        with override(language):
            assert words.reason("1234.01 ETH") == shown

    @pytest.mark.parametrize("language", ["de", "ru"])
    def test_a_bonus_is_told_in_each_language(self, language: str) -> None:
        with override(language):
            told = words.reason("Bonus of Starter 1.5")
        assert told != "Bonus of Starter 1.5"
        assert "Starter 1.5" in told

    @pytest.mark.parametrize("text", ["", "For 0.01 ETH of yesterday", "Version 1.5", "0.01"])
    def test_what_people_wrote_stays_as_it_is(self, text: str) -> None:
        with override("de"):
            assert words.reason(text) == text


class TestWord:
    @pytest.mark.parametrize(
        "code", [*TopUp.Status.values, *Model.Kind.values, *Attempt.Outcome.values]
    )
    def test_each_state_and_kind_has_a_word_in_each_language(self, code: str) -> None:
        assert code in words.WORDS
        with override("ru"):
            assert words.word(code) != code

    def test_a_code_without_a_word_stays_as_it_is(self) -> None:
        assert words.word("clearing:stripe") == "clearing:stripe"


class TestBreakable:
    def test_markup_in_a_name_is_shown_not_obeyed(self) -> None:
        assert show.breakable("a/<b>") == "a/<wbr>&lt;b&gt;"


class TestIndented:
    def test_json_of_one_line_has_a_line_for_each_value(self) -> None:
        assert show.indented('{"a":"é"}') == '{\n  "a": "é"\n}'

    def test_what_is_no_json_stays(self) -> None:
        assert show.indented("gone") == "gone"
