from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction

from billing import conversions, invariants, ledger
from billing.models import Conversion, Transfer
from tests.billing.bank import Customer, customer

pytestmark = pytest.mark.django_db

USDC = "USDC@1:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
SOURCE = UUID(int=7)
AT = datetime(2031, 1, 1, tzinfo=UTC)
# A market's 0.9991 dollars: 999.1 nano-dollars for a millionth of a coin.
RATE = conversions.Rate(
    value=conversions.unit_rate(price=Decimal("0.9991"), given_decimals=6, wanted_decimals=9),
    source="exchange",
    at=AT,
)


def deposit(one: Customer, amount: int, **changes: Any) -> conversions.Converted:
    """Convert coins that came in on a chain into a customer's dollars."""
    terms: dict[str, Any] = {
        "source": SOURCE,
        "debit": ledger.house_account(kind="wallet_deposit", asset=USDC),
        "credit": one.usd,
        "amount": amount,
        "rate": RATE,
    }
    return conversions.convert(**(terms | changes))


def moved() -> dict[str, tuple[str, str, int]]:
    """Return debit kind, credit kind and amount of each linked transfer."""
    rows = Transfer.objects.filter(source=SOURCE).select_related("debit", "credit")
    return {row.kind: (row.debit.kind, row.credit.kind, row.amount) for row in rows}


class TestUnitRate:
    def test_decimals_belong_to_the_asset(self) -> None:
        assert RATE.value == Fraction("999.1")
        coarse = conversions.unit_rate(price=Decimal("2"), given_decimals=18, wanted_decimals=9)
        assert coarse == Fraction(2, 10**9)


class TestConvert:
    def test_it_links_two_transfers_through_the_trading_accounts(self) -> None:
        one = customer()
        assert deposit(one, 1_000_000) == conversions.Converted(True, 999_100_000, 0)
        assert one.balance().paid == 999_100_000
        assert moved() == {
            "conversion.out": ("wallet_deposit", "trading", 1_000_000),
            "conversion.in": ("trading", "paid", 999_100_000),
        }
        row = Conversion.objects.get()
        assert (row.rate_source, row.rate_at, row.received) == ("exchange", AT, 999_100_000)
        assert {each.reference for each in Transfer.objects.all()} == {"exchange"}

    def test_the_rest_of_a_unit_stays_with_the_house(self) -> None:
        one = customer()
        assert deposit(one, 3).received == 2997

    def test_the_spread_is_rounded_up_and_a_transfer_of_its_own(self) -> None:
        one = customer()
        assert deposit(one, 1001, spread_ppm=5000) == conversions.Converted(True, 1_000_099, 5001)
        assert one.balance().paid == 1_000_099 - 5001
        assert moved()["conversion.spread"] == ("trading", "fx_spread", 5001)
        assert invariants.check(full=True).ok

    def test_a_source_is_converted_once(self) -> None:
        one = customer()
        deposit(one, 10, spread_ppm=1)
        again = deposit(one, 10, spread_ppm=1)
        assert again == conversions.Converted(False, 9991, 1)
        assert one.balance().paid == 9990
        assert Transfer.objects.count() == 3

    @pytest.mark.parametrize(
        "change",
        [{"amount": 11}, {"spread_ppm": 1}, {"rate": replace(RATE, value=Fraction(1000))}],
    )
    def test_other_terms_are_a_conflict(self, change: dict[str, Any]) -> None:
        one = customer()
        deposit(one, 10)
        with pytest.raises(ledger.Conflict), transaction.atomic():
            deposit(one, **({"amount": 10} | change))
        assert one.balance().paid == 9991

    def test_another_customer_is_a_conflict(self) -> None:
        deposit(customer(), 10)
        with pytest.raises(ledger.Conflict), transaction.atomic():
            deposit(customer(), 10)

    def test_a_customer_gives_no_more_than_the_holds_leave(self) -> None:
        one = customer(usd=1000)
        one.hold(400)
        back = {"debit": one.usd, "credit": ledger.house_account(kind="bank", asset="TOK")}
        with pytest.raises(ledger.InsufficientFunds), transaction.atomic():
            deposit(one, 601, **back)
        assert Conversion.objects.count() == 0
        assert deposit(one, 600, **back).new

    def test_amounts_of_a_chain_are_exact(self) -> None:
        one = customer()
        wei = conversions.unit_rate(price=Decimal("4321.99"), given_decimals=18, wanted_decimals=9)
        amount = 3 * 10**18 + 1
        assert deposit(one, amount, rate=replace(RATE, value=wei)).received == int(amount * wei)

    @pytest.mark.parametrize(
        "change",
        [
            {"amount": 0},
            {"amount": -5},
            {"rate": replace(RATE, value=Fraction(0))},
            {"rate": replace(RATE, value=Fraction(-1))},
            {"rate": replace(RATE, source="")},
            {"rate": replace(RATE, value=Fraction(1, 11))},
            {"spread_ppm": -1},
            {"spread_ppm": 1_000_000},
            {"credit": -1},
            {"debit": -1},
            {"amount": 10**70},
        ],
    )
    def test_nonsense_is_no_conversion(self, change: dict[str, Any]) -> None:
        one = customer()
        with pytest.raises(ledger.NotATransfer), transaction.atomic():
            deposit(one, **({"amount": 10} | change))
        assert one.balance().total == Transfer.objects.count() == 0

    def test_within_one_asset_there_is_nothing_to_convert(self) -> None:
        one = customer()
        with pytest.raises(ledger.NotATransfer), transaction.atomic():
            deposit(one, 10, debit=ledger.house_account(kind="bank", asset="USD"))

    def test_what_is_worth_less_than_its_spread_is_too_little(self) -> None:
        one = customer()
        with pytest.raises(ledger.NotATransfer), transaction.atomic():
            deposit(one, 1, rate=replace(RATE, value=Fraction(1)), spread_ppm=1)


class TestConversion:
    @pytest.mark.parametrize(
        "statement",
        [
            "update billing_conversion set spread = 0",
            "delete from billing_conversion",
            "truncate billing_conversion",
        ],
    )
    def test_it_is_append_only(self, statement: str) -> None:
        deposit(customer(), 10)
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            connection.cursor().execute(statement)


class TestFind:
    def test_it_tells_what_came_of_a_deposit(self) -> None:
        assert conversions.find(source=SOURCE) is None
        deposit(customer(), 10)
        found = conversions.find(source=SOURCE)
        assert found is not None
        assert found.received == 9991
