"""Deposits on a real EVM: anvil, with contracts that the Solidity compiler made."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from billing import ledger
from billing.chains import config, exchange, reconciliation, wallets, watcher
from billing.models import Deposit, DepositAddress, ExtendedKey, Outflow, Sighting, UnlistedToken
from tests.billing import bank
from tests.billing.chains import counter
from tests.billing.chains.counter import ETHER
from tests.fakes import anvil
from tests.fakes.anvil import FINAL_AFTER, PEERS, Anvil, call, word

pytestmark = pytest.mark.django_db


@dataclass(slots=True)
class Relay:
    """An endpoint before anvil that lags, lies or refuses."""

    target: int
    lag: int = 0
    lie: bool = False
    status: int = 200
    server: ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                raw = relay.answer(json.loads(body))
                self.send_response(relay.status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,)).start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """Stop."""
        self.server.shutdown()
        self.server.server_close()

    def answer(self, body: Any) -> bytes:
        """Ask anvil, and change what it says."""
        if self.status != 200:
            return b'{"jsonrpc":"2.0","id":0,"error":{"code":-32005}}'
        if isinstance(body, list):
            return json.dumps([self._one(each) for each in body]).encode()
        return json.dumps(self._one(body)).encode()

    def _one(self, asked: Any) -> Any:
        method, params = asked["method"], asked["params"]
        if self.lag and method == "eth_getBlockByNumber":
            head = int(self._forward("eth_blockNumber", [])["result"], 16) - self.lag
            if params[0] in ("latest", "finalized"):
                params = [hex(head - FINAL_AFTER * (params[0] == "finalized")), params[1]]
            elif int(params[0], 16) > head:
                return {"jsonrpc": "2.0", "id": asked["id"], "result": None}
        if self.lag and method == "eth_getLogs":
            # As nodes do that lack the block: no error, no logs.
            return {"jsonrpc": "2.0", "id": asked["id"], "result": []}
        said = self._forward(method, params)
        if self.lie and method == "eth_getBlockByNumber" and said.get("result"):
            said["result"]["hash"] = "0x" + "77" * 32
        return said | {"id": asked["id"]}

    def _forward(self, method: str, params: Any) -> Any:
        link = http.client.HTTPConnection("127.0.0.1", self.target, timeout=10)
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        link.request("POST", "/", json.dumps(body), {"content-type": "application/json"})
        said = json.loads(link.getresponse().read())
        link.close()
        return said


@dataclass(slots=True)
class Port:
    """The chain, its tokens and an address to pay to."""

    chain: Anvil
    relay: Relay
    usdc: str
    fake: str
    mine: DepositAddress

    def look(self) -> watcher.Look:
        """Look once."""
        return watcher.watch(chain=config.chain(self.chain.chain_id))

    def settle(self) -> watcher.Look:
        """Let everything be final, and look."""
        self.chain.mine(FINAL_AFTER)
        return self.look()

    def credited(self, symbol: str = "USDC") -> int:
        """What the ledger has."""
        asset = next(name for name, t in config.tokens().items() if t.symbol == symbol)
        workspace_id = self.mine.workspace_id
        return ledger.balance(workspace_id=workspace_id, asset=asset).total

    def transfer(self, amount: int) -> dict[str, str]:
        """A transaction that pays in USDC."""
        told = call("Token", "transfer(address,uint256)", word(self.mine.address), word(amount))
        return {"to": self.usdc, "data": told}


@pytest.fixture
def port(npm: str, settings: Settings, tmp_path: Path) -> Iterator[Port]:
    assert npm
    with Anvil() as chain:
        relay = Relay(chain.port)
        usdc, fake = chain.token("USDC", 6), chain.token("USDC", 6)
        usdt = chain.token("USDT", 6, fee=1)
        chain.mine(FINAL_AFTER)
        given = counter.plan([chain.url, relay.url])
        for token, contract in zip(given["chains"][0]["tokens"], (usdc, usdt), strict=True):
            token["contract"] = contract
        counter.configure(settings, tmp_path, given)
        # Not an address of anvil's own accounts: those have ether.
        counter.set_wallet()
        ExtendedKey.objects.update(next_index=100)
        watcher.watch(chain=config.chain(chain.chain_id))
        mine = wallets.give(workspace=bank.customer().workspace)
        yield Port(chain, relay, usdc, fake, mine)
        relay.close()


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

    def test_a_reorganisation_of_three_blocks(self, port: Port) -> None:
        dropped, moved, replaced = (
            port.transfer(amount) for amount in (1_000_001, 2_000_002, 4_000_004)
        )
        for each in (dropped, moved, replaced):
            port.chain.transact(each)
        port.look()
        assert (port.credited(), len(Sighting.objects.all())) == (0, 3)
        port.chain.reorganise(
            3, [(port.transfer(8_000_008), 0), (moved, 1), (port.transfer(16_000_016), 2)]
        )
        port.look()
        assert port.credited() == 0
        port.settle()
        port.look()
        told = call("Token", "balanceOf(address)", word(port.mine.address))
        there = int(port.chain.ask("eth_call", {"to": port.usdc, "data": told}, "latest"), 16)
        assert sorted(counter.amounts()) == [2_000_002, 8_000_008, 16_000_016]
        assert port.credited() == there == sum(counter.amounts())
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
