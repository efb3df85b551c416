"""What issuers, spammers and bad luck do to deposits, on a real EVM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from billing.chains import config, deposits, reconciliation
from billing.models import ChainCursor, Deposit, NativeBalance, Outflow, Sighting
from tests.billing.chains import counter
from tests.billing.chains.counter import ETHER
from tests.fakes.anvil import CONTRACTS, FINAL_AFTER, Anvil, call, word
from tests.peers.chains.harbour import Port, open_port

pytestmark = pytest.mark.django_db


@pytest.fixture
def issuer(npm: str, settings: Settings, tmp_path: Path) -> Iterator[Port]:
    """A port whose USDC can be paused, frozen and destroyed."""
    assert npm
    with open_port(settings, tmp_path, usdc="Regulated") as opened:
        yield opened


def tell(port: Port, to: str, contract: str, method: str, *words: str) -> str:
    """Call a contract; return the transaction's status."""
    told = {"to": to, "data": call(contract, method, *words), "gas": "0x100000"}
    return str(port.chain.transact(told)["status"])


def relist(port: Port, settings: Settings, folder: Path, contract: str) -> None:
    """Let another contract be USDC."""
    port.plan["chains"][0]["tokens"][0]["contract"] = contract
    counter.configure(settings, folder, port.plan)


class TestTheIssuer:
    def test_a_paused_token_moves_nothing_and_loses_nothing(self, issuer: Port) -> None:
        issuer.chain.send(issuer.usdc, issuer.mine.address, 5_000_000)
        issuer.settle()
        tell(issuer, issuer.usdc, "Regulated", "pause(bool)", word(1))
        refused = issuer.chain.transact(issuer.transfer(7_000_000) | {"gas": "0x100000"})
        assert (refused["status"], issuer.settle().trouble) == ("0x0", "")
        assert issuer.credited() == 5_000_000
        tell(issuer, issuer.usdc, "Regulated", "pause(bool)", word(0))
        issuer.chain.transact(issuer.transfer(7_000_000))
        issuer.settle()
        assert issuer.credited() == 12_000_000
        assert counter.incidents() == []

    def test_an_address_of_ours_is_blacklisted_and_then_emptied(self, issuer: Port) -> None:
        own = word(issuer.mine.address)
        issuer.chain.send(issuer.usdc, issuer.mine.address, 5_000_000)
        issuer.settle()
        tell(issuer, issuer.usdc, "Regulated", "freeze(address)", own)
        refused = issuer.chain.transact(issuer.transfer(7_000_000) | {"gas": "0x100000"})
        issuer.settle()
        assert (refused["status"], issuer.credited()) == ("0x0", 5_000_000)
        assert reconciliation.reconcile(chain=config.chain(31337)) == []
        # No event says so: only the balance does, and a person decides who bears it.
        tell(issuer, issuer.usdc, "Regulated", "destroy(address)", own)
        assert issuer.settle().trouble == ""
        [told] = reconciliation.reconcile(chain=config.chain(31337))
        assert (told.on_chain, told.booked) == (0, 5_000_000)
        assert counter.incidents() == [f"balance:{told.asset}:{issuer.mine.address}"]
        assert not Outflow.objects.exists()
        assert counter.books_balance()

    def test_a_proxy_that_counts_in_other_units_stops_the_chain(
        self, port: Port, settings: Settings, tmp_path: Path
    ) -> None:
        chain, own = port.chain, word(port.mine.address)
        six, eighteen = chain.deploy("Coin"), chain.deploy("Recounted")
        proxy = chain.deploy("Proxy", word(six))
        relist(port, settings, tmp_path, proxy)
        tell(port, proxy, "Coin", "mint(address,uint256)", own, word(5_000_000))
        assert (port.settle().trouble, port.credited()) == ("", 5_000_000)
        # Long before the hourly check of all contracts is due again.
        tell(port, proxy, "Proxy", "upgrade(address)", word(eighteen))
        tell(port, proxy, "Coin", "mint(address,uint256)", own, word(ETHER))
        before = ChainCursor.objects.get().number
        assert "USDC on Anvil has 18 decimals, not 6" in port.settle().trouble
        assert (ChainCursor.objects.get().number, port.credited()) == (before, 5_000_000)
        assert counter.incidents() == ["chain:31337"]
        # Back again nothing was lost; what was minted in between counts as it was.
        tell(port, proxy, "Proxy", "upgrade(address)", word(six))
        assert port.settle().new == 1
        assert counter.incidents() == []
        assert port.credited() == 5_000_000 + ETHER


class TestSanctions:
    def test_what_a_listed_address_sends_is_held_and_listed_for_staff(
        self, port: Port, settings: Settings, tmp_path: Path
    ) -> None:
        chain, listed = port.chain, port.chain.accounts[3]
        oracle = chain.deploy("Sanctions")
        chain.send(port.usdc, listed, 50_000_000)
        port.settle()
        port.plan["chains"][0]["sanctions_oracle"] = oracle
        counter.configure(settings, tmp_path, port.plan)
        chain.transact(port.transfer(1_000_000, listed))
        assert (port.settle().trouble, port.credited()) == ("", 1_000_000)
        tell(port, oracle, "Sanctions", "list(address)", word(listed))
        chain.transact(port.transfer(2_000_000, listed))
        chain.pay(port.mine.address, ETHER, sender=listed)
        chain.transact(port.transfer(4_000_000))
        assert port.settle().trouble == ""
        assert (port.credited(), port.credited("ETH")) == (5_000_000, 0)
        held = list(Deposit.objects.filter(state="suspended").order_by("amount"))
        assert [(each.amount, each.doubt) for each in held] == [
            (2_000_000, "listed"), (ETHER, "listed"),
        ]  # fmt: skip
        assert set(counter.incidents()) == {f"deposit:{each.public_id}" for each in held}
        with pytest.raises(deposits.Contradiction, match="never credited"):
            deposits.release(deposit=held[0], token=config.tokens()[held[0].asset])
        # It lies there all the same.
        assert reconciliation.reconcile(chain=config.chain(31337)) == []
        assert counter.books_balance()

    def test_a_contract_that_is_no_list_clears_nobody(
        self, port: Port, settings: Settings, tmp_path: Path
    ) -> None:
        port.plan["chains"][0]["sanctions_oracle"] = port.usdc
        counter.configure(settings, tmp_path, port.plan)
        port.chain.transact(port.transfer(1_000_000))
        assert (port.settle().trouble, port.credited()) == ("", 0)
        assert Deposit.objects.get().doubt == "unscreened"


class TestEther:
    def test_a_contract_that_destroys_itself_leaves_its_ether(self, port: Port) -> None:
        port.chain.deploy("Bequest", word(port.mine.address), wei=3 * ETHER + 5)
        port.settle()
        assert port.credited("ETH") == 3 * 10**9
        assert Deposit.objects.get().amount == NativeBalance.objects.get().balance == 3 * ETHER + 5
        assert counter.books_balance()


class TestTheChain:
    def test_spent_twice_what_replaced_it_counts(self, port: Port) -> None:
        spender = port.chain.accounts[4]
        port.chain.send(port.usdc, spender, 9_000_000)
        port.chain.mine(FINAL_AFTER)
        first = port.chain.transact(port.transfer(9_000_000, spender))
        port.look()
        assert Sighting.objects.get().amount == 9_000_000
        # The same nonce pays somebody else in the block that becomes final.
        elsewhere = call("Token", "transfer(address,uint256)", word(port.fake), word(9_000_000))
        other = {"to": port.usdc, "data": elsewhere, "from": spender}
        port.chain.reorganise(1, [(other | {"nonce": first_nonce(port, first)}, 0)])
        port.settle()
        assert (port.credited(), Deposit.objects.count()) == (0, 0)

    def test_an_endpoint_that_was_away_for_days_leaves_no_gap_and_books_nothing_twice(
        self, port: Port, settings: Settings, tmp_path: Path
    ) -> None:
        port.plan["chains"][0] |= {"max_range": 50, "rescan_blocks": 60}
        counter.configure(settings, tmp_path, port.plan)
        port.look()
        start = ChainCursor.objects.get().number
        port.relay.status = 503
        for number in range(6):
            port.chain.send(port.usdc, port.mine.address, 1_000_000 + number)
            port.chain.mine(70)
            assert port.look().trouble != ""
        assert ChainCursor.objects.get().number == start
        port.relay.status = 200
        port.relay.asked.clear()
        assert (port.settle().new, port.look().new) == (6, 0)
        asked = [params[0] for method, params in port.relay.asked if method == "eth_getLogs"]
        spans = sorted(
            {
                (int(each["fromBlock"], 16), int(each["toBlock"], 16))
                for each in asked
                if "address" in each
            }
        )
        assert all(last - first < 50 for first, last in spans)
        reached = start
        for first, last in spans:
            assert first <= reached + 1, "a gap"
            reached = max(reached, last)
        assert reached >= ChainCursor.objects.get().number > start + 400
        assert port.credited() == 6_000_015
        assert counter.books_balance()

    def test_another_chain_behind_an_endpoint_is_noticed_at_once(self, port: Port) -> None:
        port.chain.send(port.usdc, port.mine.address, 5_000_000)
        home = port.relay.target
        with Anvil(chain_id=1) as other:
            other.mine(50)
            port.relay.target = other.port
            assert "is chain 1, not 31337" in port.settle().trouble
        port.relay.target = home
        assert port.credited() == 0
        assert (port.look().new, port.credited()) == (1, 5_000_000)

    def test_a_chain_that_began_anew_under_the_same_id_is_not_believed(self, port: Port) -> None:
        home = port.relay.target
        with Anvil() as other:
            for _ in range(2):
                other.deploy("Token", word(0x60), word(6), word(0), word(0))
            other.mine(50)
            port.relay.target = other.port
            assert port.settle().trouble != ""
        port.relay.target = home
        assert port.look().trouble == ""

    def test_no_question_names_a_block_by_a_hash_that_may_be_orphaned(self, port: Port) -> None:
        port.chain.send(port.usdc, port.mine.address, 5_000_000)
        port.chain.pay(port.mine.address, ETHER)
        port.settle()
        assert port.relay.asked
        assert not [each for each in port.relay.asked if "blockHash" in str(each)]


def first_nonce(port: Port, receipt: dict[str, str]) -> str:
    """The nonce of a transaction."""
    told = port.chain.ask("eth_getTransactionByHash", receipt["transactionHash"])
    return str(told["nonce"])


class TestContracts:
    def test_the_oracles_method_is_the_published_one(self) -> None:
        assert CONTRACTS["Sanctions"]["methods"]["isSanctioned(address)"] == "df592f7d"
