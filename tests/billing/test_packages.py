from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, transaction
from django.utils import timezone

from billing import grants, invariants, ledger, packages
from billing.models import Account, Lot, TokenPackage, Transfer
from tests.billing.bank import Customer, bill, customer, settle

pytestmark = pytest.mark.django_db

SOURCE = UUID(int=9)


def offer(slug: str = "starter", **changes: Any) -> TokenPackage:
    """Put a package on sale."""
    terms: dict[str, Any] = {"name": "Starter", "tokens": 7, "price_nanos": 1000}
    return TokenPackage.objects.create(slug=slug, **(terms | changes))


def buy(one: Customer, **changes: Any) -> packages.Purchase:
    """Buy the starter package."""
    asked: dict[str, Any] = {"workspace": one.workspace, "slug": "starter", "source": SOURCE}
    return packages.buy(**(asked | changes))


class TestListed:
    def test_what_is_on_sale_the_cheapest_first(self) -> None:
        offer("big", price_nanos=5000)
        offer("old", enabled=False)
        offer("small")
        assert [each.slug for each in packages.listed()] == ["small", "big"]


class TestBuy:
    def test_dollars_go_and_tokens_come(self) -> None:
        offer()
        one = customer(usd=1500)
        assert buy(one) == packages.Purchase("starter", 7, 0, 1000, new=True)
        assert (one.balance().paid, one.balance("TOK").paid) == (500, 7)
        assert invariants.check(full=True).ok

    def test_exactly_the_price_suffices_and_one_less_does_not(self) -> None:
        offer()
        assert buy(customer(usd=1000)).new
        poor = customer(usd=999)
        with pytest.raises(ledger.InsufficientFunds):
            buy(poor, source=UUID(int=1))
        assert poor.balance("TOK").total == 0

    def test_money_that_a_call_holds_buys_nothing(self) -> None:
        offer()
        one = customer(usd=1000)
        one.hold(1)
        with pytest.raises(ledger.InsufficientFunds):
            buy(one)

    def test_granted_dollars_buy_no_tokens(self) -> None:
        offer()
        with pytest.raises(ledger.InsufficientFunds):
            buy(customer(usd=999, granted=5000))

    def test_credit_below_zero_buys_no_tokens(self) -> None:
        offer()
        one = customer(usd=999)
        Account.objects.filter(pk=one.usd).update(floor=-5000)
        with pytest.raises(ledger.InsufficientFunds):
            buy(one)

    def test_a_source_buys_once_whatever_the_price_is_by_then(self) -> None:
        package = offer(bonus_tokens=3)
        one = customer(usd=5000)
        buy(one)
        TokenPackage.objects.filter(pk=package.pk).update(price_nanos=1, tokens=1, enabled=False)
        assert buy(one) == packages.Purchase("starter", 7, 3, 1000, new=False)
        assert one.balance().paid == 4000
        assert one.balance("TOK").total == 10

    def test_a_source_that_bought_something_else_is_a_conflict(self) -> None:
        offer()
        offer("team")
        one, other = customer(usd=5000), customer(usd=5000)
        buy(one)
        with pytest.raises(ledger.Conflict), transaction.atomic():
            buy(one, slug="team")
        with pytest.raises(ledger.Conflict), transaction.atomic():
            buy(other)

    def test_a_bonus_is_granted_and_expires_as_breakage(self) -> None:
        offer(bonus_tokens=5, bonus_days=30)
        one = customer(usd=1000)
        assert buy(one).bonus_tokens == 5
        assert (one.balance("TOK").paid, one.balance("TOK").granted) == (7, 5)
        expires = Lot.objects.get().expires_at
        assert expires is not None
        assert timedelta(days=29) < expires - timezone.now() < timedelta(days=31)
        grants.expire_due(now=expires)
        assert Transfer.objects.get(kind="grant.expired").amount == 5
        assert one.balance("TOK").total == 7
        assert invariants.check(full=True).ok

    def test_what_was_bought_pays_for_calls(self) -> None:
        offer()
        one = customer(usd=1000)
        buy(one)
        assert one.use(2_500_001, tokens=True, want=3)["charged"] == 2

    def test_the_price_that_was_shown_is_the_price(self) -> None:
        offer()
        with pytest.raises(packages.PriceChanged):
            buy(customer(usd=5000), price_nanos=999)
        assert buy(customer(usd=5000), price_nanos=1000).new

    @pytest.mark.parametrize("slug", ["old", "none"])
    def test_what_is_not_on_sale_is_not_sold(self, slug: str) -> None:
        offer("old", enabled=False)
        with pytest.raises(packages.NotForSale):
            buy(customer(usd=5000), slug=slug)

    def test_a_frozen_workspace_buys_nothing(self) -> None:
        offer()
        one = customer(usd=5000)
        ledger.freeze(workspace_id=one.workspace.pk)
        with pytest.raises(packages.WorkspaceFrozen):
            buy(one)


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_the_same_purchase_many_times_at_once_is_one(self) -> None:
        offer()
        one = customer(usd=5000)

        def work(_: int) -> bool:
            try:
                return buy(one).new
            finally:
                connections.close_all()

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(work, range(6))) == 1
        assert (one.balance().paid, one.balance("TOK").paid) == (4000, 7)
        assert invariants.check(full=True).ok

    def test_two_hundred_share_the_last_money_exactly_while_calls_hold_some(self) -> None:
        offer()
        one = customer(usd=3400)
        hold, _ = one.hold(400)

        def work(number: int) -> bool:
            try:
                return buy(one, source=UUID(int=number + 1)).new
            except ledger.InsufficientFunds:
                return False
            finally:
                connections.close_all()

        with ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(work, range(200))) == 3
        assert (one.balance().available, one.balance("TOK").paid) == (0, 21)
        assert invariants.check(full=True).ok
        assert settle(bill(hold, 400))[0]["charged"] == 400
