"""Money is read and written exactly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import money


class TestReading:
    @given(st.integers(-(10**18), 10**18))
    def test_what_was_written_is_read_back(self, nanos: int) -> None:
        assert money.nanos_from_usd(money.usd(nanos)) == nanos

    @pytest.mark.parametrize(
        ("text", "nanos"),
        [("1", 10**9), ("0.000000001", 1), ("-2.5", -2_500_000_000), (" 3 ", 3 * 10**9)],
    )
    def test_decimals_become_nano_dollars(self, text: str, nanos: int) -> None:
        assert money.nanos_from_usd(text) == nanos

    @pytest.mark.parametrize("text", ["", "x", "1,5", "NaN", "Infinity", "0.0000000001", "1e30"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"\."):
            money.nanos_from_usd(text)

    def test_floats_are_refused(self) -> None:
        with pytest.raises(ValueError, match="float"):
            money.nanos_from_usd(0.1)  # type: ignore[arg-type]

    def test_prices_are_pico_dollars_per_token(self) -> None:
        assert money.pico_per_token_from_usd_per_million("2.50") == 2_500_000
        assert money.pico_per_token_from_usd_per_million("0.0375") == 37_500


class TestWriting:
    @pytest.mark.parametrize(
        ("nanos", "digits", "text"),
        [
            (0, 2, "0.00"),
            (10_000_000, 2, "0.01"),
            (9_999_999, 2, "0.00"),
            (999_999_999, 2, "0.99"),
            (-1_234_567_890, 2, "-1.23"),
        ],
    )
    def test_balances_are_rounded_down(self, nanos: int, digits: int, text: str) -> None:
        assert money.usd(nanos, digits=digits) == text

    @pytest.mark.parametrize(
        ("amounts", "digits"),
        [([], 6), ([0, 25 * 10**9], 6), ([4_300_000_000, -16_800_742_500], 7), ([5 * 10**9, 1], 9)],
    )
    def test_a_column_has_the_decimals_of_its_finest_amount(
        self, amounts: list[int], digits: int
    ) -> None:
        assert money.decimals(amounts) == digits

    def test_a_column_of_prices_may_be_finer(self) -> None:
        assert money.decimals([10**12, 97_500_000, 10], finest=12) == 11

    @given(st.integers(0, 10**18))
    def test_prices_are_exact_and_without_an_exponent(self, pico: int) -> None:
        text = money.usd_from_pico(pico, at_least=4)

        assert Decimal(text) * 10**12 == pico
        assert "e" not in text.lower()
        assert len(text.partition(".")[2]) >= 4
