from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from billing import tasks
from billing.chains import config, holdings, reconciliation, sweepplan
from billing.models import ChainCursor, Deposit, Outflow
from tests.billing.chains import counter
from tests.billing.chains.counter import ETHER, PAYER, TREASURY, USDC, Counter
from tests.fakes.evm import Event


class TestReconcile:
    def test_what_was_booked_is_what_is_there(self, shop: Counter) -> None:
        one, two = shop.customer(), shop.customer()
        shop.chain.mine(
            shop.pay(one, 5_000_000),
            shop.pay(two, 1),
            shop.chain.tx(native=((PAYER, one.address, ETHER + 1),)),
        )
        shop.chain.mine(shop.chain.tx(Event(USDC, one.address, TREASURY, 2_000_000)))
        shop.chain.finalise()
        shop.look()
        assert reconciliation.reconcile(chain=config.chain(31337)) == []

    def test_what_nobody_booked_is_told(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        for each in shop.chain.endpoints:
            each.faults.hide_logs = True
        shop.look()
        tasks.reconcile_chains()
        [subject] = counter.incidents()
        assert subject == f"balance:USDC@31337:{USDC}:{address.address}"
        # Found by the second look, it is over.
        for each in shop.chain.endpoints:
            each.faults.hide_logs = False
        ChainCursor.objects.update(rescanned_at="2020-01-01T00:00:00Z")
        assert shop.look().new == 1
        tasks.reconcile_chains()
        assert counter.incidents() == []

    def test_a_deposit_that_is_not_there_is_told(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        shop.look()
        Deposit.objects.update(amount=6_000_000)
        [found] = reconciliation.reconcile(chain=config.chain(31337))
        assert (found.on_chain, found.booked) == (5_000_000, 6_000_000)

    def test_units_that_do_not_follow_from_what_arrived_are_told(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.chain.tx(native=((PAYER, address.address, ETHER + 7),)))
        shop.chain.finalise()
        shop.look()
        reconciliation.reconcile(chain=config.chain(31337))
        assert counter.incidents() == []
        Deposit.objects.update(units=10**9 + 1)
        reconciliation.reconcile(chain=config.chain(31337))
        assert counter.incidents() == [f"units:{shop.asset('ETH')}:{address.pk}"]
        Deposit.objects.update(units=10**9)
        reconciliation.reconcile(chain=config.chain(31337))
        assert counter.incidents() == []

    def test_tokens_that_a_contract_took_without_a_transfer_are_told(self, shop: Counter) -> None:
        # As an issuer destroys what lies at an address it has blacklisted.
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        shop.look()
        shop.chain.destroyed[(USDC, address.address.lower())] = 5_000_000
        [found] = reconciliation.reconcile(chain=config.chain(31337))
        assert (found.on_chain, found.booked) == (0, 5_000_000)


@pytest.mark.django_db(transaction=True)
class TestReconcileBesideALook:
    def test_what_is_booked_meanwhile_is_no_difference(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        shop.look()
        shop.chain.mine(shop.chain.tx(Event(USDC, address.address, TREASURY, 2_000_000)))
        shop.chain.finalise()
        node = shop.chain.endpoints[0].faults

        def look_beside(method: str) -> None:
            # Between the block that is compared and the rows it is compared with.
            if method == "eth_getBlockByNumber":
                node.before.clear()
                thread = threading.Thread(target=look_and_hang_up, args=(shop,))
                thread.start()
                thread.join()

        node.before.append(look_beside)
        assert reconciliation.reconcile(chain=config.chain(31337)) == []
        assert (Outflow.objects.count(), counter.incidents()) == (1, [])


def look_and_hang_up(shop: Counter) -> None:
    """Look at the chain on a connection of its own."""
    try:
        shop.look()
    finally:
        connection.close()


class TestReportSilence:
    def test_a_chain_that_answers_no_more_is_told(self, shop: Counter) -> None:
        now = datetime.now(UTC)
        reconciliation.report_silence(now=now)
        assert counter.incidents() == []
        reconciliation.report_silence(now=now + timedelta(minutes=31))
        assert counter.incidents() == ["silent:31337"]
        reconciliation.report_silence(now=now)
        assert counter.incidents() == []


class TestSweepPlan:
    def test_it_names_addresses_amounts_and_paths_and_no_key(
        self, shop: Counter, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shop.customer()
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_500_000))
        shop.chain.finalise()
        shop.look()
        call_command("sweep_plan", "--json")
        [line] = json.loads(capsys.readouterr().out)["sweeps"]
        assert line == {
            "chain_id": 31337,
            "chain": "Anvil",
            "asset": f"USDC@31337:{USDC}",
            "symbol": "USDC",
            "contract": USDC,
            "address": address.address,
            "path": "m/44'/60'/0'/0/1",
            "amount": "5.5",
            "base_units": 5_500_000,
            "uncounted": 0,
        }

    def test_what_is_below_a_billionth_of_an_ether_is_listed(self, shop: Counter) -> None:
        address = shop.customer()
        for wei in (ETHER + 999_999_999, ETHER + 3):
            shop.chain.mine(shop.chain.tx(native=((PAYER, address.address, wei),)))
            shop.chain.finalise()
            shop.look()
        [line] = sweepplan.plan()
        # Both remainders together made one more unit; two wei are left, and no wei is lost.
        assert (line.base_units, line.uncounted) == (2 * ETHER + 1_000_000_002, 2)
        assert shop.credited(address, "ETH") * 10**9 + 2 == line.base_units
        shown = holdings.holdings(address=address)
        assert [each.uncounted for each in shown] == ["0", "0", "0.000000000000000002"]
        assert counter.books_balance()
