"""Amounts as people type them, in the language they read."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.utils.translation import override

from billing.forms import UsdField


class TestUsdField:
    @pytest.mark.parametrize(
        ("language", "typed", "nanos"),
        [
            ("en", "2.50", 2_500_000_000),
            ("de", "2,50", 2_500_000_000),
            ("ru", "2,50", 2_500_000_000),
            ("de", "2.50", 2_500_000_000),
            ("de", "1000", 10**12),
            ("ru", "0,000000001", 1),
            ("de", "", None),
        ],
    )
    def test_the_readers_decimal_sign_is_read(
        self, language: str, typed: str, nanos: int | None
    ) -> None:
        with override(language):
            assert UsdField(required=False).clean(typed) == nanos

    @pytest.mark.parametrize(
        ("language", "typed"),
        [
            ("en", "2,50"),
            ("en", "1,000"),
            ("de", "1.000"),
            ("ru", "12.345.678"),
            ("de", "1,2,3"),
            ("en", "$5"),
            ("en", "0.0000000001"),
            ("de", "-0,01"),
        ],
    )
    def test_what_may_mean_two_amounts_or_none_is_refused(self, language: str, typed: str) -> None:
        with override(language), pytest.raises(ValidationError):
            UsdField().clean(typed)

    @pytest.mark.parametrize(("language", "shown"), [("en", "0.125"), ("de", "0,125")])
    def test_what_is_shown_is_read_as_the_same(self, language: str, shown: str) -> None:
        field = UsdField()

        with override(language):
            assert field.prepare_value(125_000_000) == shown
            assert field.clean(shown) == 125_000_000
