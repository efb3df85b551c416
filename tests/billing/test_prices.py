from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from billing import prices
from billing.models import Price
from billing.pricing import Rates

pytestmark = pytest.mark.django_db

NOW = datetime(2031, 5, 1, tzinfo=UTC)
CHEAP = Rates(prompt=1, completion=2)
DEAR = Rates(prompt=3, completion=4, cached_prompt=1, image={"1x1": {"low": 5}})


def set_price(rates: Rates, now: datetime = NOW, start: datetime | None = None) -> Price | None:
    """Set the retail price of one model."""
    return prices.set_price(subject="m", role="retail", rates=rates, now=now, effective_from=start)


def rates_at(now: datetime) -> Rates | None:
    """Return the retail price of that model."""
    version = prices.rates_at(subject="m", role="retail", now=now)
    return version.rates if version else None


class TestSetPrice:
    def test_a_new_version_holds_from_now(self) -> None:
        set_price(CHEAP)
        assert rates_at(NOW) == CHEAP
        assert rates_at(NOW - timedelta(seconds=1)) is None

    def test_the_same_price_again_adds_nothing(self) -> None:
        assert set_price(DEAR) is not None
        assert set_price(DEAR, NOW + timedelta(days=1)) is None
        assert Price.objects.count() == 1

    def test_another_price_leaves_the_old_version(self) -> None:
        set_price(CHEAP)
        set_price(DEAR, NOW + timedelta(days=1))
        assert rates_at(NOW) == CHEAP
        assert rates_at(NOW + timedelta(days=1)) == DEAR

    def test_a_price_can_be_scheduled(self) -> None:
        set_price(CHEAP)
        set_price(DEAR, start=NOW + timedelta(days=7))
        assert rates_at(NOW + timedelta(days=6)) == CHEAP
        assert rates_at(NOW + timedelta(days=7)) == DEAR
        assert prices.next_change(after=NOW) == NOW + timedelta(days=7)

    def test_two_prices_from_the_same_time_on_are_refused(self) -> None:
        set_price(CHEAP)
        with pytest.raises(prices.PriceTaken):
            set_price(DEAR)

    def test_roles_are_apart(self) -> None:
        prices.set_price(subject="m", role="cost", rates=CHEAP, now=NOW)
        assert rates_at(NOW) is None


class TestAllRatesAt:
    def test_it_has_the_newest_of_each(self) -> None:
        set_price(CHEAP)
        set_price(DEAR, NOW + timedelta(days=1))
        prices.set_price(subject="n", role="cost", rates=CHEAP, now=NOW)
        found = prices.all_rates_at(now=NOW + timedelta(days=2))
        assert {name: version.rates for name, version in found.items()} == {
            ("m", "retail"): DEAR,
            ("n", "cost"): CHEAP,
        }
        assert list(prices.all_rates_at(now=NOW, subjects=["n"])) == [("n", "cost")]
