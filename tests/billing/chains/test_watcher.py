from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from billing import ledger
from billing.chains import config, deposits, watcher
from billing.models import (
    Alert,
    ChainCursor,
    Deposit,
    DepositAddress,
    Outflow,
    Sighting,
    Transfer,
    UnlistedToken,
)
from tests.billing.chains import counter
from tests.billing.chains.counter import FAKE, PAYER, TREASURY, USDC, USDT, Counter, amounts
from tests.fakes.evm import Event, moved


class Crash(Exception):
    """The process ends here."""


def cursor() -> ChainCursor:
    return ChainCursor.objects.get()


class TestWatch:
    def test_a_deposit_is_credited_when_it_is_final_and_not_before(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.look()
        assert shop.credited(address) == 0
        shop.chain.mine()
        shop.look()
        assert shop.credited(address) == 0
        shop.chain.mine()
        shop.look()
        assert shop.credited(address) == 5_000_000
        assert shop.look().new == 0
        assert counter.books_balance()

    def test_what_is_not_final_is_shown_with_its_progress(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.look()
        [seen] = Sighting.objects.all()
        assert (seen.amount, seen.confirmations, seen.address) == (5_000_000, 1, address)
        shop.chain.mine()
        shop.look()
        [seen] = Sighting.objects.all()
        assert (seen.confirmations, 0 <= seen.percent < 100) == (2, True)
        shop.chain.mine()
        shop.look()
        assert not Sighting.objects.exists()

    def test_a_token_with_the_same_symbol_is_noted_and_not_credited(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000, FAKE), shop.pay(address, 7, FAKE))
        shop.chain.finalise()
        assert shop.look().new == 0
        [row] = UnlistedToken.objects.all()
        assert (row.contract, row.amount, row.address) == (FAKE, "5000000", address)
        assert not Transfer.objects.filter(kind="deposit").exists()

    def test_each_of_several_transfers_in_one_transaction_is_booked(self, shop: Counter) -> None:
        one, two = shop.customer(), shop.customer()
        events = [
            Event(USDC, PAYER, one.address, 1_000_000),
            Event(FAKE, PAYER, one.address, 9_000_000),
            Event(USDC, PAYER, two.address, 2_000_000),
            Event(USDC, PAYER, one.address, 1_000_000),
            Event(USDT, PAYER, one.address, 3_000_000),
        ]
        shop.chain.mine(shop.chain.tx(*events))
        shop.chain.finalise()
        assert shop.look().new == 4
        assert list(Deposit.objects.order_by("ordinal").values_list("ordinal", flat=True)) == [
            0, 2, 3, 4,
        ]  # fmt: skip
        assert (shop.credited(one), shop.credited(one, "USDT")) == (2_000_000, 3_000_000)
        assert shop.credited(two) == 2_000_000

    def test_a_transaction_that_failed_and_a_transfer_of_nothing_credit_nothing(
        self, shop: Counter
    ) -> None:
        address = shop.customer()
        failed = moved(shop.pay(address, 5_000_000), status=0)
        shop.chain.mine(failed, shop.pay(address, 0))
        shop.chain.finalise()
        assert shop.look() == watcher.Look(through=shop.chain.final)
        assert not Deposit.objects.exists()

    def test_a_token_that_keeps_a_fee_is_credited_as_it_arrived(self, shop: Counter) -> None:
        address = shop.customer()
        events = (
            Event(USDC, PAYER, address.address, 99_000_000),
            Event(USDC, PAYER, FAKE, 1_000_000),
        )
        shop.chain.mine(shop.chain.tx(*events))
        shop.chain.finalise()
        shop.look()
        assert shop.credited(address) == 99_000_000

    def test_a_deposit_that_a_reorganisation_drops_moves_or_replaces(self, shop: Counter) -> None:
        address = shop.customer()
        dropped, stays = shop.pay(address, 1_000_001), shop.pay(address, 2_000_002)
        replaced = shop.pay(address, 4_000_004)
        shop.chain.mine(dropped, stays)
        shop.chain.mine(replaced)
        shop.look()
        other = shop.chain.tx(Event(USDC, PAYER, address.address, 8_000_008))
        # Another transaction comes first: the log's index in the block changes.
        shop.chain.reorganise([[other], [shop.pay(address, 16_000_016), stays]])
        shop.look()
        shop.chain.finalise()
        shop.look()
        shop.look()
        assert sorted(amounts()) == [2_000_002, 8_000_008, 16_000_016]
        assert shop.credited(address) == shop.chain.final_sum(USDC, {address.address})
        assert counter.books_balance()

    def test_amounts_below_the_minimum_wait_for_each_other(self, shop: Counter) -> None:
        address = shop.customer()
        for amount, credited in ((400_000, 0), (500_000, 0), (100_000, 1_000_000)):
            shop.chain.mine(shop.pay(address, amount))
            shop.chain.finalise()
            shop.look()
            assert shop.credited(address) == credited
        assert Transfer.objects.filter(kind="deposit").count() == 3

    def test_an_endpoint_without_the_newest_blocks_hides_nothing(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.endpoints[1].faults.lag = 3
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        before = cursor().number
        shop.look()
        assert cursor().number <= shop.chain.final - 3 or cursor().number == before
        assert shop.credited(address) == 0
        shop.chain.endpoints[1].faults.lag = 0
        shop.look()
        assert shop.credited(address) == 5_000_000

    @pytest.mark.parametrize("liar", [0, 1])
    def test_an_endpoint_that_tells_no_logs_is_not_believed(self, shop: Counter, liar: int) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        shop.chain.endpoints[liar].faults.hide_logs = True
        before = cursor().number
        assert "differ" in shop.look().trouble
        assert cursor().number == before
        assert Alert.objects.filter(kind="chain.trouble", closed_at=None).count() == 1
        shop.chain.endpoints[liar].faults.hide_logs = False
        assert shop.look().trouble == ""
        assert shop.credited(address) == 5_000_000
        assert not Alert.objects.filter(kind="chain.trouble", closed_at=None).exists()

    @pytest.mark.parametrize("liar", [0, 1])
    def test_an_endpoint_of_another_fork_is_not_believed(self, shop: Counter, liar: int) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        shop.chain.endpoints[liar].faults.lie_hash = True
        assert "different hashes" in shop.look().trouble
        assert shop.credited(address) == 0

    def test_an_endpoint_of_another_chain_is_refused(
        self, shop: Counter, settings: Settings, tmp_path: Path
    ) -> None:
        shop.chain.endpoints[1].faults.chain_id = 1
        urls = [each.url for each in shop.chain.endpoints]
        counter.configure(settings, tmp_path, counter.plan(urls))
        assert "is chain 1, not 31337" in shop.look().trouble

    def test_a_token_with_other_decimals_than_configured_is_refused(
        self, shop: Counter, settings: Settings, tmp_path: Path
    ) -> None:
        shop.chain.decimals[USDC] = 18
        urls = [each.url for each in shop.chain.endpoints]
        counter.configure(settings, tmp_path, counter.plan(urls))
        assert "18 decimals, not 6" in shop.look().trouble

    def test_an_address_without_a_contract_is_refused(
        self, shop: Counter, settings: Settings, tmp_path: Path
    ) -> None:
        del shop.chain.decimals[USDT]
        urls = [each.url for each in shop.chain.endpoints]
        counter.configure(settings, tmp_path, counter.plan(urls))
        assert "no contract" in shop.look().trouble

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_an_endpoint_that_is_away_only_delays(self, shop: Counter, status: int) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        shop.chain.endpoints[0].faults.fail = status
        assert shop.look().trouble != ""
        shop.chain.endpoints[0].faults.fail = None
        assert shop.look().new == 1

    def test_a_chain_far_behind_is_read_in_ranges_that_the_endpoint_allows(
        self, shop: Counter
    ) -> None:
        address = shop.customer()
        for _ in range(40):
            shop.chain.mine(shop.pay(address, 1_000_000))
        shop.chain.finalise()
        for each in shop.chain.endpoints:
            each.faults.widest = 5
        assert shop.look().new == 40
        assert shop.credited(address) == 40_000_000

    def test_a_final_block_that_changed_stops_everything(self, shop: Counter) -> None:
        shop.chain.blocks[cursor().number].hash = "0x" + "12" * 32
        assert "was final" in shop.look().trouble
        assert Alert.objects.filter(kind="chain.trouble").exists()

    @pytest.mark.parametrize("step", ["eth_getLogs", "eth_getTransactionReceipt"])
    def test_a_crash_between_finding_and_booking_loses_nothing(
        self, shop: Counter, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 1_000_000), shop.pay(address, 2_000_000))
        shop.chain.finalise()
        book, booked = deposits.book, 0

        def crash_at_the_second(seen: deposits.Seen, **facts: Any) -> Deposit | None:
            nonlocal booked
            booked += 1
            if booked == 2 or step == "eth_getLogs":
                raise Crash
            return book(seen, **facts)

        with monkeypatch.context() as patch:
            patch.setattr(deposits, "book", crash_at_the_second)
            with pytest.raises(Crash):
                shop.look()
        assert cursor().number < shop.chain.final
        shop.look()
        assert (sorted(amounts()), shop.credited(address)) == ([1_000_000, 2_000_000], 3_000_000)

    def test_a_sweep_is_recognised(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.mine(shop.chain.tx(Event(USDC, address.address, TREASURY, 5_000_000)))
        shop.chain.finalise()
        assert shop.look().new == 1
        [left] = Outflow.objects.all()
        assert (left.amount, left.recipient.lower()) == (5_000_000, TREASURY)
        assert shop.credited(address) == 5_000_000
        [posted] = Transfer.objects.filter(kind="sweep")
        assert posted.amount == 5_000_000
        assert counter.books_balance()

    def test_money_between_two_of_our_addresses_leaves_one_and_reaches_the_other(
        self, shop: Counter
    ) -> None:
        one, two = shop.customer(), shop.customer()
        shop.chain.mine(shop.pay(one, 5_000_000))
        shop.chain.mine(shop.chain.tx(Event(USDC, one.address, two.address, 5_000_000)))
        shop.chain.finalise()
        shop.look()
        assert (Deposit.objects.count(), Outflow.objects.count()) == (2, 1)

    def test_money_sent_to_itself_is_none(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.chain.tx(Event(USDC, address.address, address.address, 5_000_000)))
        shop.chain.finalise()
        assert shop.look().new == 0

    def test_a_frozen_workspace_is_credited_all_the_same(self, shop: Counter) -> None:
        address = shop.customer()
        ledger.freeze(workspace_id=address.workspace_id)
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        shop.look()
        assert shop.credited(address) == 5_000_000

    def test_listed_senders_and_large_amounts_wait_for_a_person(
        self, shop: Counter, settings: Settings, tmp_path: Path
    ) -> None:
        urls = [each.url for each in shop.chain.endpoints]
        given = counter.plan(urls, blocked_senders=[FAKE])
        given["chains"][0]["tokens"][0]["approve_above"] = "100"
        counter.configure(settings, tmp_path, given)
        address = shop.customer()
        shop.chain.mine(
            shop.chain.tx(Event(USDC, FAKE, address.address, 5_000_000)),
            shop.pay(address, 100_000_001),
            shop.pay(address, 100_000_000),
        )
        shop.chain.finalise()
        shop.look()
        assert shop.credited(address) == 100_000_000
        for each in Deposit.objects.filter(state="suspended"):
            deposits.release(deposit=each, token=config.tokens()[each.asset])
        assert shop.credited(address) == 205_000_001
        with pytest.raises(deposits.Contradiction, match="waits for no decision"):
            deposits.release(
                deposit=Deposit.objects.order_by("id")[0], token=config.tokens()[each.asset]
            )

    def test_a_second_look_finds_what_both_endpoints_had_hidden(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        for each in shop.chain.endpoints:
            each.faults.hide_logs = True
        assert shop.look().trouble == ""
        for each in shop.chain.endpoints:
            each.faults.hide_logs = False
        assert shop.look().new == 0
        ChainCursor.objects.update(rescanned_at="2020-01-01T00:00:00Z")
        assert shop.look().new == 1
        assert shop.credited(address) == 5_000_000

    def test_booked_before_as_something_else_stops_the_look(self, shop: Counter) -> None:
        address = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        shop.look()
        Deposit.objects.update(amount=6_000_000)
        ChainCursor.objects.update(rescanned_at="2020-01-01T00:00:00Z")
        assert "booked before" in shop.look().trouble

    def test_the_address_of_an_endpoint_is_in_no_log_and_no_alert(
        self, shop: Counter, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for each in shop.chain.endpoints:
            each.faults.fail = 500
        look = shop.look()
        said = capfd.readouterr()
        assert "secret-path" not in f"{look}{said}{list(Alert.objects.values())}"


@pytest.mark.django_db(transaction=True)
class TestWatchAtTheSameTime:
    def test_a_second_look_ends_at_once(self, shop: Counter) -> None:
        address: DepositAddress = shop.customer()
        shop.chain.mine(shop.pay(address, 5_000_000))
        shop.chain.finalise()
        looks: list[watcher.Look] = []

        def look_beside() -> None:
            looks.append(shop.look())
            connection.close()

        def beside(method: str) -> None:
            shop.chain.endpoints[0].faults.before.clear()
            thread = threading.Thread(target=look_beside)
            thread.start()
            thread.join()

        shop.chain.endpoints[0].faults.before.append(beside)
        assert shop.look().new == 1
        assert [look.trouble for look in looks] == ["somebody else is looking"]
        assert shop.credited(address) == 5_000_000
