from __future__ import annotations

from decimal import Decimal

import pytest

from proxy.costreports import READERS, base
from proxy.models import Provider


class TestReaders:
    def test_every_word_of_the_catalogue_has_one(self) -> None:
        assert set(Provider.CostReport.values) == {"none", *READERS}


class TestNanos:
    @pytest.mark.parametrize(
        ("usd", "nanos"),
        [
            (1, 10**9),
            (Decimal("0.06"), 60_000_000),
            ("0.0000000015", 2),
            (Decimal("1e-12"), 0),
            ("-2.5", -2_500_000_000),
        ],
    )
    def test_amounts_are_exact(self, usd: object, nanos: int) -> None:
        assert base.nanos(usd) == nanos

    @pytest.mark.parametrize("usd", [None, True, 0.5, "", "x", "Infinity", Decimal("1e30"), {}])
    def test_anything_else_is_no_amount(self, usd: object) -> None:
        assert base.nanos(usd) is None
