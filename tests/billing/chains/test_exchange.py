from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_django import Settings

from billing import claims, conversions
from billing.chains import exchange, rates
from billing.models import Claim, Deposit, DepositAddress, TopUp, Transfer
from common import ids
from tests.billing.chains import counter
from tests.billing.chains.counter import Counter

NANO = 10**9


def arrive(shop: Counter, amount: int = 10_000_000) -> DepositAddress:
    address = shop.customer()
    more(shop, address, amount)
    return address


def more(shop: Counter, address: DepositAddress, amount: int) -> None:
    shop.chain.mine(shop.pay(address, amount))
    shop.chain.finalise()
    assert shop.look().new == 1


def owe(address: DepositAddress, nanos: int) -> None:
    """Let a payment by card be disputed that was spent."""
    top_up = TopUp.objects.create(
        workspace_id=address.workspace_id, method="checkout", amount_cents=nanos // 10**7
    )
    claims.take(kind=Claim.Kind.DISPUTE, external_id="dp_spent", top_up=top_up, amount_nanos=nanos)
    assert debt(address) == nanos


def debt(address: DepositAddress) -> int:
    return claims.debt(workspace_id=address.workspace_id)


def due() -> int:
    return exchange.convert_due(now=datetime.now(UTC))


def convert(shop: Counter, address: DepositAddress, units: int | None = None) -> int:
    done = exchange.convert(
        workspace=address.workspace, asset=shop.asset("USDC"), units=units, source=ids.request_id()
    )
    return done.received


class TestConvertDue:
    def test_a_deposit_becomes_dollars_by_two_linked_transfers(self, shop: Counter) -> None:
        address = arrive(shop)
        counter.quote("USDC", "0.9991")
        assert (due(), due()) == (1, 0)
        assert shop.balance(address).paid == 9_991_000_000
        assert shop.credited(address) == 0
        [deposit] = Deposit.objects.all()
        source = ids.source("deposit.conversion", deposit.public_id)
        assert set(Transfer.objects.filter(source=source).values_list("kind", flat=True)) == {
            "conversion.out", "conversion.in",
        }  # fmt: skip
        kept = conversions.find(source=source)
        assert kept is not None
        assert (kept.rate_source, deposit.state) == ("median of test", "converted")
        assert counter.books_balance()

    def test_a_spread_is_a_transfer_of_its_own(
        self, shop: Counter, settings: Settings, tmp_path: Path
    ) -> None:
        given = counter.plan([each.url for each in shop.chain.endpoints])
        counter.configure(settings, tmp_path, given | {"spread_ppm": 10_000})
        address = arrive(shop)
        counter.quote("USDC", "1")
        due()
        assert shop.balance(address).paid == 9_900_000_000
        assert Transfer.objects.get(kind="conversion.spread").amount == 100_000_000

    def test_what_is_owed_is_paid_before_anything_can_be_spent(self, shop: Counter) -> None:
        address = arrive(shop)
        owe(address, 4 * NANO)
        counter.quote("USDC", "1")
        assert due() == 1
        assert (shop.balance(address).paid, debt(address)) == (6 * NANO, 0)
        assert counter.books_balance()

    def test_without_a_price_it_waits_and_operators_are_told(self, shop: Counter) -> None:
        address = arrive(shop)
        assert due() == 0
        assert (shop.balance(address).paid, shop.credited(address)) == (0, 10_000_000)
        assert counter.incidents() == ["USDC"]
        counter.quote("USDC", "1")
        assert due() == 1
        assert counter.incidents() == []

    def test_a_token_taken_off_the_list_waits_and_operators_are_told(
        self, shop: Counter, settings: Settings, tmp_path: Path
    ) -> None:
        arrive(shop)
        given = counter.plan([each.url for each in shop.chain.endpoints])
        del given["chains"][0]["tokens"][0]
        counter.configure(settings, tmp_path, given)
        assert due() == 0
        assert len(counter.incidents()) == 1


class TestConvert:
    def test_what_is_kept_is_converted_when_it_is_said(self, shop: Counter) -> None:
        address = shop.customer()
        exchange.set_keep(address=address, keep=True)
        more(shop, address, 10_000_000)
        counter.quote("USDC", "1")
        assert due() == 0
        owe(address, NANO)
        assert convert(shop, address, 4_000_000) == 4 * NANO
        assert debt(address) == 0
        assert convert(shop, address) == 6 * NANO
        assert (shop.balance(address).paid, shop.credited(address)) == (9 * NANO, 0)
        assert counter.books_balance()

    def test_what_is_about_to_be_converted_is_not_converted_twice(self, shop: Counter) -> None:
        address = arrive(shop)
        counter.quote("USDC", "1")
        with pytest.raises(exchange.NothingToConvert, match=r"^0 USDC"):
            convert(shop, address)
        assert due() == 1

    @pytest.mark.parametrize("units", [0, -1, 10_000_001])
    def test_what_is_not_there_is_refused(self, shop: Counter, units: int) -> None:
        address = shop.customer()
        exchange.set_keep(address=address, keep=True)
        more(shop, address, 10_000_000)
        counter.quote("USDC", "1")
        with pytest.raises(exchange.NothingToConvert, match="10 USDC can be converted"):
            convert(shop, address, units)

    def test_without_a_price_it_is_refused(self, shop: Counter) -> None:
        address = arrive(shop)
        with pytest.raises(rates.Unavailable):
            convert(shop, address)

    def test_an_asset_of_no_chain_is_refused(self, shop: Counter) -> None:
        with pytest.raises(exchange.UnknownAsset):
            exchange.convert(
                workspace=shop.customer().workspace, asset="X", units=1, source=ids.request_id()
            )
