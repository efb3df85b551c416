"""
A development chain in a process of its own: anvil, with real ERC-20 contracts.

Its accounts are unlocked and their keys are published with anvil itself. Used by the tests in
tests/peers/chains and by the demo of payments.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx

from tests import packages
from tests.fakes.ports import free_port

PEERS: Final = Path(__file__).parents[1] / "peers" / "chains"
CACHE: Final = packages.CACHE / "chains"
CONTRACTS: Final = json.loads((PEERS / "contracts" / "Token.json").read_text())
# anvil calls a block final two epochs behind its newest one.
FINAL_AFTER: Final = 4


def folder() -> Path:
    """
    Return where anvil and the compiler are, installed from their lock file.

    :raises packages.Missing: there is no npm
    """
    packages.node(source=PEERS, folder=CACHE)
    return CACHE


class Anvil:
    """``with Anvil() as chain: token = chain.token("USDC", 6); chain.send(token, to, 5)``."""

    def __init__(
        self,
        *,
        port: int | None = None,
        chain_id: int = 31337,
        block_s: float | None = None,
        state: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self.chain_id = chain_id
        self._block_s = block_s
        self._state = state
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(timeout=30)
        self.accounts: list[str] = []

    @property
    def url(self) -> str:
        """Where it answers JSON-RPC."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Anvil:
        """Start it and wait until it answers."""
        program = folder() / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
        pace = [] if self._block_s is None else ["--block-time", str(self._block_s)]
        if self._state is not None:
            pace += ["--state", str(self._state), "--state-interval", "5"]
        self._process = subprocess.Popen(
            [
                str(program), "--host", "127.0.0.1", "--port", str(self.port), "--silent",
                "--chain-id", str(self.chain_id),
                "--slots-in-an-epoch", str(FINAL_AFTER // 2), *pace,
            ],
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                self.accounts = self.ask("eth_accounts")
            except httpx.HTTPError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("anvil did not start") from None
                time.sleep(0.05)
            else:
                return self

    def stop(self) -> None:
        """End it."""
        self._client.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def __enter__(self) -> Anvil:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def ask(self, method: str, *params: Any) -> Any:
        """Call a method; an error is a RuntimeError."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = self._client.post(self.url, json=body).json()
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def mine(self, blocks: int = 1) -> None:
        """Add blocks."""
        self.ask("anvil_mine", hex(blocks))

    def deploy(self, name: str, *words: str, wei: int = 0) -> str:
        """Deploy a contract; `words` are its constructor's arguments, encoded."""
        code = CONTRACTS[name]["bytecode"] + "".join(words)
        receipt = self.transact({"data": code, "value": hex(wei)})
        address: str = receipt["contractAddress"]
        return address

    def token(self, symbol: str, decimals: int, *, fee: int = 0, contract: str = "Token") -> str:
        """Deploy an ERC-20 token whose whole supply is the first account's."""
        text = symbol.encode()
        tail = word(len(text)) + text.hex().ljust(64, "0")
        terms = [word(decimals)] + ([word(fee)] if contract == "Token" else [])
        return self.deploy(contract, word(0x20 * (len(terms) + 1)), *terms, tail)

    def send(self, token: str, to: str, amount: int, *, sender: str = "") -> str:
        """Transfer tokens in a block of their own; return the transaction."""
        told = call("Token", "transfer(address,uint256)", word(to), word(amount))
        hash_: str = self.transact({"to": token, "data": told} | origin(sender))["transactionHash"]
        return hash_

    def pay(self, to: str, wei: int, *, sender: str = "") -> str:
        """Send ether; return the transaction."""
        given = {"to": to, "value": hex(wei)} | origin(sender)
        hash_: str = self.transact(given)["transactionHash"]
        return hash_

    def transact(self, given: dict[str, str]) -> dict[str, Any]:
        """Send a transaction of an unlocked account and return its receipt."""
        hash_ = self.ask("eth_sendTransaction", {"from": self.accounts[0]} | given)
        deadline = time.monotonic() + 30
        while (receipt := self.ask("eth_getTransactionReceipt", hash_)) is None:
            if time.monotonic() > deadline:
                raise RuntimeError("the transaction was not mined")
            time.sleep(0.05)
        found: dict[str, Any] = receipt
        return found

    def reorganise(
        self, depth: int, transactions: Sequence[tuple[dict[str, str] | str, int]]
    ) -> None:
        """
        Replace the newest blocks; each transaction goes into the block at its offset.

        One that was signed before (its bytes) stays what it is.
        """
        terms = {"from": self.accounts[0], "gas": "0x100000"}
        filled = [
            [given if isinstance(given, str) else terms | given, offset]
            for given, offset in transactions
        ]
        self.ask("anvil_reorg", depth, filled)


def origin(sender: str) -> dict[str, str]:
    """Name the sender of a transaction, where it is not the first account."""
    return {"from": sender} if sender else {}


def word(value: int | str) -> str:
    """Encode a number or an address as the ABI does."""
    return hex(value)[2:].rjust(64, "0") if isinstance(value, int) else value[2:].rjust(64, "0")


def call(contract: str, method: str, *words: str) -> str:
    """Encode a call."""
    selector: str = CONTRACTS[contract]["methods"][method]
    return "0x" + selector + "".join(words)
