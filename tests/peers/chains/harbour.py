"""A chain beside what watches it: anvil, an endpoint before it that misbehaves, an address."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pytest_django import Settings

from billing import ledger
from billing.chains import config, wallets, watcher
from billing.models import DepositAddress, ExtendedKey
from tests.billing import bank
from tests.billing.chains import counter
from tests.fakes.anvil import FINAL_AFTER, Anvil, call, origin, word


@dataclass(slots=True)
class Relay:
    """An endpoint before anvil that lags, lies or refuses."""

    target: int
    lag: int = 0
    lie: bool = False
    status: int = 200
    asked: list[tuple[str, Any]] = field(default_factory=list)
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
        self.asked.append((method, params))
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
    plan: dict[str, Any]

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

    def transfer(self, amount: int, sender: str = "") -> dict[str, str]:
        """A transaction that pays in USDC."""
        told = call("Token", "transfer(address,uint256)", word(self.mine.address), word(amount))
        return {"to": self.usdc, "data": told} | origin(sender)


@contextmanager
def open_port(settings: Settings, folder: Path, *, usdc: str = "Token") -> Iterator[Port]:
    """Start a chain, its tokens (USDC as a contract of that name) and what watches it."""
    with Anvil() as chain:
        relay = Relay(chain.port)
        first, fake = chain.token("USDC", 6, contract=usdc), chain.token("USDC", 6)
        usdt = chain.token("USDT", 6, fee=1)
        chain.mine(FINAL_AFTER)
        given = counter.plan([chain.url, relay.url])
        for token, contract in zip(given["chains"][0]["tokens"], (first, usdt), strict=True):
            token["contract"] = contract
        counter.configure(settings, folder, given)
        # Not an address of anvil's own accounts: those have ether.
        counter.set_wallet()
        ExtendedKey.objects.update(next_index=100)
        watcher.watch(chain=config.chain(chain.chain_id))
        mine = wallets.give(workspace=bank.customer().workspace)
        try:
            yield Port(chain, relay, first, fake, mine, given)
        finally:
            relay.close()
