from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import AuditEvent
from billing.chains import config, deposits
from billing.models import ChainCursor, Deposit
from tests.billing.chains import counter
from tests.billing.chains.counter import ETHER, FAKE, PAYER, TREASURY, USDC, Counter
from tests.fakes.evm import Event

ORACLE = "0x" + "0c" * 20
LISTED = "0x" + "5a" * 20


@pytest.fixture
def screened(shop: Counter, settings: Settings, tmp_path: Path) -> Counter:
    """The counter with an oracle for sanctions."""
    configure(shop, settings, tmp_path, sanctions_oracle=ORACLE)
    shop.chain.decimals[ORACLE] = 0
    shop.chain.sanctioned.add(LISTED)
    return shop


def configure(shop: Counter, settings: Settings, folder: Path, **changes: Any) -> None:
    urls = [each.url for each in shop.chain.endpoints]
    counter.configure(settings, folder, counter.plan(urls, **changes))


def settle(shop: Counter) -> str:
    shop.chain.finalise()
    return shop.look().trouble


class TestDoubt:
    def test_by_default_nobody_is_asked(self, shop: Counter) -> None:
        assert config.chain(31337).sanctions_oracle is None
        address = shop.customer()
        shop.chain.sanctioned.add(PAYER)
        shop.chain.mine(shop.pay(address, 5_000_000))
        settle(shop)
        assert shop.credited(address) == 5_000_000

    def test_money_from_a_listed_address_is_never_credited(self, screened: Counter) -> None:
        address = screened.customer()
        screened.chain.mine(
            screened.chain.tx(Event(USDC, LISTED, address.address, 5_000_000)),
            screened.pay(address, 2_000_000),
        )
        settle(screened)
        assert screened.credited(address) == 2_000_000
        held = Deposit.objects.get(state="suspended")
        assert (held.doubt, held.amount) == ("listed", 5_000_000)
        assert counter.incidents() == [f"deposit:{held.public_id}"]
        with pytest.raises(deposits.Contradiction, match="never credited"):
            deposits.release(deposit=held, token=config.tokens()[held.asset])
        # Whatever comes later does not bring it along.
        screened.chain.mine(screened.pay(address, 3_000_000))
        settle(screened)
        assert screened.credited(address) == 5_000_000
        deposits.reject(deposit=held, reason="On the list")
        assert counter.incidents() == []
        assert counter.books_balance()

    def test_who_signed_counts_as_well_as_whose_tokens_moved(self, screened: Counter) -> None:
        # A listed person lets a contract send.
        address = screened.customer()
        event = Event(USDC, PAYER, address.address, 5_000_000)
        screened.chain.mine(screened.chain.tx(event, signer=LISTED))
        settle(screened)
        assert Deposit.objects.get().doubt == "listed"

    def test_one_endpoint_that_knows_of_it_is_enough(self, screened: Counter) -> None:
        address = screened.customer()
        screened.chain.sanctioned.clear()
        screened.chain.mine(screened.chain.tx(Event(USDC, LISTED, address.address, 5_000_000)))
        screened.chain.finalise()
        # The second endpoint is asked last: by then the list has grown.
        seen = screened.chain.endpoints[1].asked

        def list_late(method: str) -> None:
            if method == "eth_call" and "eth_getTransactionReceipt" in seen:
                screened.chain.sanctioned.add(LISTED)

        screened.chain.endpoints[1].faults.before.append(list_late)
        screened.look()
        assert Deposit.objects.get().doubt == "listed"

    @pytest.mark.parametrize("answer", ["revert", "0x", "0x1", "0x" + "ff" * 32])
    def test_a_list_that_gives_no_answer_clears_nobody(
        self, screened: Counter, answer: str
    ) -> None:
        address = screened.customer()
        screened.chain.oracle_fails = answer
        screened.chain.mine(screened.pay(address, 5_000_000))
        assert settle(screened) == ""
        held = Deposit.objects.get()
        assert (held.state, held.doubt) == ("suspended", "unscreened")
        deposits.release(deposit=held, token=config.tokens()[held.asset], reason="Asked by hand")
        assert screened.credited(address) == 5_000_000
        event = AuditEvent.objects.get(action="crypto.deposit_released")
        assert (event.workspace_id, event.after["doubt"]) == (None, "unscreened")

    def test_an_address_without_a_contract_is_no_list(
        self, shop: Counter, settings: Settings, tmp_path: Path
    ) -> None:
        configure(shop, settings, tmp_path, sanctions_oracle=ORACLE)
        assert "sanctions_oracle of Anvil: no contract" in shop.look().trouble

    def test_this_servers_own_list_applies_to_ether_too(
        self, shop: Counter, settings: Settings, tmp_path: Path
    ) -> None:
        configure(shop, settings, tmp_path, blocked_senders=[FAKE])
        address = shop.customer()
        paid = shop.chain.tx(native=((FAKE, address.address, ETHER),), signer=FAKE)
        shop.chain.mine(paid)
        settle(shop)
        assert Deposit.objects.get().doubt == "blocked"


class TestNative:
    def test_ether_from_a_listed_address_is_never_credited(self, screened: Counter) -> None:
        address = screened.customer()
        # Blocks with other things before and after: the one that paid has to be found.
        for number in range(9):
            paid = [((LISTED, address.address, ETHER),)] if number == 4 else []
            screened.chain.mine(
                *(screened.chain.tx(native=moved, signer=LISTED) for moved in paid),
                screened.chain.tx(native=((LISTED, TREASURY, 5),), signer=LISTED),
            )
        settle(screened)
        assert screened.credited(address, "ETH") == 0
        assert Deposit.objects.get().doubt == "listed"

    def test_a_listed_payer_of_before_does_not_taint_others(self, screened: Counter) -> None:
        address = screened.customer()
        for signer, wei in ((LISTED, ETHER), (PAYER, 2 * ETHER)):
            moved = ((signer, address.address, wei),)
            screened.chain.mine(screened.chain.tx(native=moved, signer=signer))
            settle(screened)
        assert screened.credited(address, "ETH") == 2 * 10**9
        states = Deposit.objects.order_by("id").values_list("state", "doubt")
        assert list(states) == [("suspended", "listed"), ("credited", "")]

    def test_who_paid_while_nobody_looked_is_found_later(self, screened: Counter) -> None:
        address = screened.customer()
        screened.look()
        moved = ((LISTED, address.address, ETHER),)
        screened.chain.mine(screened.chain.tx(native=moved, signer=LISTED))
        screened.chain.finalise()
        # The tokens are booked up to here; the balances could not be asked for.
        chain = screened.chain
        cursor = ChainCursor.objects.get()
        ChainCursor.objects.update(number=chain.final, block_hash=chain.blocks[chain.final].hash)
        assert cursor.native_number is not None
        chain.mine()
        settle(screened)
        assert Deposit.objects.get().doubt == "listed"

    def test_what_a_contract_sends_is_held_where_that_is_wanted(
        self, screened: Counter, settings: Settings, tmp_path: Path
    ) -> None:
        address = screened.customer()
        other = ((PAYER, FAKE, 7), (FAKE, address.address, ETHER))
        inner = screened.chain.tx(native=other, signer=PAYER)
        screened.chain.mine(inner)
        # The transaction names a contract, which passes the money on.
        screened.chain.through[inner.hash] = FAKE
        settle(screened)
        assert Deposit.objects.get().state == "credited"
        configure(screened, settings, tmp_path, sanctions_oracle=ORACLE, hold_unseen=True)
        inner = screened.chain.tx(native=other, signer=PAYER)
        screened.chain.through[inner.hash] = FAKE
        screened.chain.mine(inner)
        settle(screened)
        assert Deposit.objects.order_by("-id")[0].doubt == "unseen"
