"""Deposits on a real EVM: anvil, with contracts that the Solidity compiler made."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime

import pytest

from billing import ledger
from billing.chains import config, exchange, reconciliation
from billing.models import Deposit, Outflow, Sighting, UnlistedToken
from tests.billing.chains import counter
from tests.billing.chains.counter import ETHER
from tests.fakes import anvil
from tests.fakes.anvil import FINAL_AFTER, PEERS, call, word
from tests.peers.chains.harbour import Port

pytestmark = pytest.mark.django_db


class TestDeposits:
    def test_all_kinds_of_money_arrive_and_become_dollars(self, port: Port) -> None:
        port.chain.send(port.usdc, port.mine.address, 5_000_000)
        usdt = next(t for t in config.tokens().values() if t.symbol == "USDT")
        # This contract keeps one per cent: what arrived counts, not what was sent.
        port.chain.send(usdt.contract, port.mine.address, 100_000_000)
        port.chain.pay(port.mine.address, ETHER)
        port.look()
        assert (port.credited(), port.credited("USDT"), port.credited("ETH")) == (0, 0, 0)
        assert port.settle().new == 3
        assert (port.credited(), port.credited("USDT")) == (5_000_000, 99_000_000)
        assert port.credited("ETH") == 10**9
        for symbol, price in (("USDC", "1"), ("USDT", "1"), ("ETH", "3000")):
            counter.quote(symbol, price)
        assert exchange.convert_due(now=datetime.now(UTC)) == 3
        balance = ledger.balance(workspace_id=port.mine.workspace_id, asset="USD")
        assert balance.paid == (5 + 99 + 3000) * 10**9
        assert reconciliation.reconcile(chain=config.chain(31337)) == []
        assert counter.books_balance()

    def test_a_token_of_the_same_name_and_a_lie_are_not_money(self, port: Port) -> None:
        port.chain.send(port.fake, port.mine.address, 5_000_000)
        liar = port.chain.deploy("Liar")
        words = word(port.chain.accounts[0]), word(port.mine.address), word(7_000_000)
        port.chain.transact(
            {"to": liar, "data": call("Liar", "say(address,address,uint256)", *words)}
        )
        assert port.settle().new == 0
        assert set(UnlistedToken.objects.values_list("contract", flat=True)) == {
            port.fake.lower(), liar.lower(),
        }  # fmt: skip

    def test_several_transfers_of_one_transaction_are_each_booked(self, port: Port) -> None:
        to, amounts = [port.mine.address] * 3, [1_000_000, 0, 2_000_000]
        words = [
            word(0x40),
            word(0x40 + 32 * 4),
            word(3),
            *map(word, to),
            word(3),
            *map(word, amounts),
        ]
        told = call("Token", "transferMany(address[],uint256[])", *words)
        port.chain.transact({"to": port.usdc, "data": told})
        port.settle()
        assert sorted(counter.amounts()) == [1_000_000, 2_000_000]
        assert list(Deposit.objects.order_by("id").values_list("ordinal", flat=True)) == [0, 2]

    def test_ether_through_a_contract_arrives(self, port: Port) -> None:
        forwarder = port.chain.deploy("Forwarder")
        told = call("Forwarder", "pass(address)", word(port.mine.address))
        port.chain.transact({"to": forwarder, "data": told, "value": hex(ETHER)})
        port.settle()
        assert port.credited("ETH") == 10**9

    def test_what_reverted_is_not_money(self, port: Port) -> None:
        port.chain.transact(port.transfer(10**31) | {"gas": "0x100000"})
        assert port.settle().trouble == ""
        assert not Deposit.objects.exists()

    def test_a_reorganisation_of_three_blocks_drops_moves_and_replaces(self, port: Port) -> None:
        chain, others = port.chain, port.chain.accounts[1:]
        for each in others[:3]:
            chain.send(port.usdc, each, 50_000_000)
        chain.mine(FINAL_AFTER)
        port.look()
        # Three senders: what becomes of one says nothing about the others.
        dropped = chain.transact(port.transfer(1_000_001, others[0]))["transactionHash"]
        moved = chain.transact(port.transfer(2_000_002))
        replaced = chain.transact(port.transfer(4_000_004, others[1]))
        port.look()
        assert (port.credited(), len(Sighting.objects.all())) == (0, 3)
        told = call("Token", "transfer(address,uint256)", word(others[3]), word(16_000_016))
        strangers = {"to": port.usdc, "data": told, "from": others[2]}
        again = chain.ask("eth_getRawTransactionByHash", moved["transactionHash"])
        # Another transaction has the replaced one's place in its sender's row; a stranger's
        # transfer comes before the one that moves to the last block.
        chain.reorganise(
            3,
            [
                (port.transfer(8_000_008, others[1]), 0),
                (strangers, 2),
                (again, 2),
            ],
        )
        port.look()
        assert port.credited() == 0
        port.settle()
        port.look()
        told = call("Token", "balanceOf(address)", word(port.mine.address))
        there = int(chain.ask("eth_call", {"to": port.usdc, "data": told}, "latest"), 16)
        assert sorted(counter.amounts()) == [2_000_002, 8_000_008]
        assert port.credited() == there == 10_000_010
        kept = Deposit.objects.get(amount=2_000_002)
        receipt = chain.ask("eth_getTransactionReceipt", kept.tx_hash)
        assert kept.tx_hash == moved["transactionHash"]
        assert kept.block_number == int(moved["blockNumber"], 16) + 1
        assert (moved["logs"][0]["logIndex"], receipt["logs"][0]["logIndex"]) == ("0x0", "0x1")
        assert kept.ordinal == 0
        assert receipt["blockHash"] == kept.block_hash != moved["blockHash"]
        gone = {dropped, replaced["transactionHash"]}
        assert not Deposit.objects.filter(tx_hash__in=gone).exists()
        assert counter.books_balance()

    def test_endpoints_that_lag_lie_or_refuse_only_delay(self, port: Port) -> None:
        port.chain.send(port.usdc, port.mine.address, 5_000_000)
        port.chain.mine(FINAL_AFTER)
        for change in ({"lag": 4}, {"lie": True}, {"status": 429}):
            for name, value in change.items():
                setattr(port.relay, name, value)
            port.look()
            assert port.credited() == 0, change
            port.relay.lag, port.relay.lie, port.relay.status = 0, False, 200
        port.look()
        assert port.credited() == 5_000_000

    def test_a_sweep_is_recognised_and_hides_no_deposit(self, port: Port) -> None:
        own, treasury = port.mine.address, port.chain.accounts[5]
        port.chain.pay(own, 2 * ETHER)
        port.chain.send(port.usdc, own, 5_000_000)
        port.settle()
        port.chain.ask("anvil_impersonateAccount", own)
        port.chain.send(port.usdc, treasury, 5_000_000, sender=own)
        port.chain.pay(treasury, ETHER, sender=own)
        port.chain.pay(own, ETHER)
        port.settle()
        assert port.credited("ETH") == 3 * 10**9
        assert {row.amount for row in Outflow.objects.filter(asset__startswith="USDC")} == {
            5_000_000
        }
        assert reconciliation.reconcile(chain=config.chain(31337)) == []
        assert counter.books_balance()


class TestTheContracts:
    def test_they_are_what_the_compiler_makes(self, npm: str) -> None:
        assert npm
        place = anvil.folder()
        shutil.copytree(PEERS / "contracts", place / "contracts", dirs_exist_ok=True)
        shutil.copy(PEERS / "compile.mjs", place / "compile.mjs")
        node = shutil.which("node")
        assert node is not None
        subprocess.run([node, "compile.mjs", "--check"], cwd=place, check=True, timeout=60)
