from __future__ import annotations

import pytest

from billing.models import Deposit, NativeBalance, Outflow
from tests.billing.chains import counter
from tests.billing.chains.counter import ETHER, PAYER, TREASURY, Counter
from tests.fakes.evm import Tx


class Crash(Exception):
    """The process ends here."""


def native_tx(shop: Counter, sender: str, recipient: str, wei: int, **facts: object) -> Tx:
    return shop.chain.tx(native=((sender, recipient, wei),), **facts)


class TestScan:
    def test_what_a_contract_sends_without_a_log_is_credited_in_billionths(
        self, shop: Counter
    ) -> None:
        address = shop.customer()
        shop.chain.mine(native_tx(shop, PAYER, address.address, ETHER + 5))
        shop.look()
        assert shop.credited(address, "ETH") == 0
        shop.chain.finalise()
        assert shop.look().new == 1
        assert shop.credited(address, "ETH") == 10**9
        [deposit] = Deposit.objects.all()
        assert (deposit.amount, deposit.units) == (ETHER + 5, 10**9)
        assert counter.books_balance()

    def test_what_is_below_a_billionth_counts_with_the_next(self, shop: Counter) -> None:
        address = shop.customer()
        for wei in (ETHER + 999_999_999, ETHER + 1):
            shop.chain.mine(native_tx(shop, PAYER, address.address, wei))
            shop.chain.finalise()
            shop.look()
        assert shop.credited(address, "ETH") == 2 * 10**9 + 1

    def test_more_than_a_bigint_of_wei_is_credited(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(native_tx(shop, PAYER, address.address, 123_456 * ETHER))
        shop.chain.finalise()
        shop.look()
        assert shop.credited(address, "ETH") == 123_456 * 10**9

    def test_a_sweep_hides_no_deposit_between_two_looks(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(native_tx(shop, PAYER, address.address, 3 * ETHER))
        shop.chain.finalise()
        shop.look()
        # Out and in again by the same amount: the balance alone shows no change.
        for number in range(5):
            sweep = native_tx(
                shop, address.address, TREASURY, ETHER - 7, signer=address.address, fee=7
            )
            shop.chain.mine(sweep, native_tx(shop, PAYER, address.address, ETHER))
            shop.chain.mine(native_tx(shop, PAYER, address.address, ETHER * (number % 2)))
        shop.chain.finalise()
        shop.look()
        assert shop.credited(address, "ETH") == 10 * 10**9
        assert sum(row.amount for row in Outflow.objects.all()) == 5 * ETHER
        assert counter.books_balance()

    def test_a_failed_transaction_costs_its_fee_only(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(native_tx(shop, PAYER, address.address, ETHER))
        shop.chain.finalise()
        shop.look()
        shop.chain.mine(
            native_tx(
                shop, address.address, TREASURY, ETHER, signer=address.address, fee=9, status=0
            )
        )
        shop.chain.finalise()
        assert shop.look().trouble == ""
        assert [row.amount for row in Outflow.objects.all()] == [9]

    def test_money_that_left_without_a_transaction_is_told_and_stops_nobody_else(
        self, shop: Counter
    ) -> None:
        one, two = shop.customer(), shop.customer()
        shop.chain.mine(native_tx(shop, PAYER, one.address, ETHER))
        shop.chain.finalise()
        shop.look()
        shop.chain.mine(
            native_tx(shop, one.address, TREASURY, ETHER),
            native_tx(shop, PAYER, two.address, ETHER),
        )
        shop.chain.finalise()
        shop.look()
        assert shop.credited(two, "ETH") == 10**9
        assert counter.incidents() == [f"native:31337:{one.address}"]
        # When it is there again it is no trouble any more.
        shop.chain.mine(native_tx(shop, TREASURY, one.address, 2 * ETHER))
        shop.chain.finalise()
        shop.look()
        assert (shop.credited(one, "ETH"), counter.incidents()) == (2 * 10**9, [])

    def test_a_crash_between_booking_and_remembering_books_nothing_twice(
        self, shop: Counter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = shop.customer()
        shop.chain.mine(native_tx(shop, PAYER, address.address, ETHER))
        shop.chain.finalise()

        def crash(**_facts: object) -> None:
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(NativeBalance.objects, "update_or_create", crash)
            with pytest.raises(Crash):
                shop.look()
        assert not NativeBalance.objects.exists()
        shop.chain.finalise()
        shop.look()
        assert shop.credited(address, "ETH") == 10**9

    def test_dust_waits(self, shop: Counter) -> None:
        address = shop.customer()
        for _ in range(2):
            shop.chain.mine(native_tx(shop, PAYER, address.address, ETHER // 2000))
            shop.chain.finalise()
            shop.look()
        assert shop.credited(address, "ETH") == 10**6
