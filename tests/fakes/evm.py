"""
A scripted EVM chain behind JSON-RPC over real HTTP, as far as a watcher asks one.

    with FakeChain() as chain:
        node = chain.endpoint()            # an address for the configuration
        tx = chain.mine(chain.transfer(USDC, sender, recipient, 5_000_000))
        chain.reorganise(depth=3, blocks=[[...], [], []])

Endpoints of one chain see the same blocks; each may lag, lie or fail on its own.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import TracebackType
from typing import Any

from billing.chains.addresses import topic
from billing.chains.identity import BALANCE_OF, DECIMALS
from billing.chains.screening import IS_SANCTIONED
from billing.chains.transfers import TRANSFER

Json = Any
FINAL_AFTER = 2


@dataclass(frozen=True, slots=True)
class Event:
    """One Transfer event."""

    contract: str
    sender: str
    recipient: str
    amount: int


@dataclass(frozen=True, slots=True)
class Tx:
    """A transaction: its events, and native money that moves (from, to, wei)."""

    hash: str
    events: tuple[Event, ...] = ()
    native: tuple[tuple[str, str, int], ...] = ()
    signer: str = "0x" + "ee" * 20
    status: int = 1
    fee: int = 0


@dataclass(slots=True)
class Block:
    """One block."""

    number: int
    hash: str
    txs: list[Tx]


@dataclass(slots=True)
class Faults:
    """What one endpoint does wrong."""

    lag: int = 0
    fail: int | None = None
    lie_hash: bool = False
    hide_logs: bool = False
    widest: int | None = None
    chain_id: int | None = None
    before: list[Callable[[str], None]] = field(default_factory=list)


class Endpoint:
    """One HTTP address of a chain, with its faults."""

    def __init__(self, chain: FakeChain) -> None:
        self.faults = Faults()
        self.asked: list[str] = []
        # Where it has any, only addresses with one of these keys are answered.
        self.keys = set[str]()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.serve(self, chain, body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = self.address("secret-path")
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def address(self, key: str) -> str:
        """Where somebody asks who has this key."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{key}"

    def serve(self, handler: BaseHTTPRequestHandler, chain: FakeChain, body: Json) -> None:
        """Answer one POST."""
        if self.keys and handler.path.removeprefix("/") not in self.keys:
            answer: Json = {"jsonrpc": "2.0", "error": {"code": -32600, "message": "no such key"}}
            status = 401
        elif self.faults.fail is not None:
            answer = {"jsonrpc": "2.0", "error": {"code": -32005, "message": "limit"}}
            status = self.faults.fail
        else:
            status = 200
            many = isinstance(body, list)
            answers = [self._answer(chain, one) for one in (body if many else [body])]
            answer = answers if many else answers[0]
        raw = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("content-length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    def _answer(self, chain: FakeChain, call: Json) -> Json:
        self.asked.append(call["method"])
        for step in list(self.faults.before):
            step(call["method"])
        said: Json = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            return said | {"result": chain.answer(call["method"], call["params"], self.faults)}
        except LookupError as error:
            return said | {"error": {"code": -32000, "message": str(error)}}

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class FakeChain:
    """The blocks that all endpoints serve."""

    def __init__(self, *, chain_id: int = 31337, decimals: dict[str, int] | None = None) -> None:
        self.chain_id = chain_id
        self.decimals = {name.lower(): value for name, value in (decimals or {}).items()}
        # What a contract took from an address without telling anybody.
        self.destroyed: dict[tuple[str, str], int] = {}
        self.sanctioned: set[str] = set()
        # Transactions whose receipts no endpoint has.
        self.lost: set[str] = set()
        # Transactions whose money goes through a contract: what they name is that.
        self.through: dict[str, str] = {}
        self.oracle_fails: str | None = None
        self.blocks: list[Block] = []
        self.endpoints: list[Endpoint] = []
        self._salt = count(1)
        self._lock = threading.RLock()
        for _ in range(FINAL_AFTER + 1):
            self.mine()

    def __enter__(self) -> FakeChain:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for each in self.endpoints:
            each.close()

    def endpoint(self) -> Endpoint:
        """Open one more endpoint."""
        self.endpoints.append(Endpoint(self))
        return self.endpoints[-1]

    def tx(self, *events: Event, **facts: Any) -> Tx:
        """Make a transaction that is in no block yet."""
        return Tx(hash=self._hash("tx"), events=events, **facts)

    def mine(self, *txs: Tx) -> Block:
        """Add a block."""
        with self._lock:
            block = Block(len(self.blocks), self._hash("block"), list(txs))
            self.blocks.append(block)
            return block

    def finalise(self) -> None:
        """Add empty blocks until everything so far is final."""
        for _ in range(FINAL_AFTER):
            self.mine()

    def reorganise(self, blocks: Sequence[Sequence[Tx]]) -> None:
        """Replace as many of the newest blocks; what is final stays."""
        assert len(blocks) <= FINAL_AFTER, "what is final does not change"
        with self._lock:
            del self.blocks[len(self.blocks) - len(blocks) :]
            for txs in blocks:
                self.mine(*txs)

    @property
    def final(self) -> int:
        """The last final block's number."""
        return len(self.blocks) - 1 - FINAL_AFTER

    def final_sum(self, contract: str, recipients: set[str]) -> int:
        """What final blocks paid to addresses in one token."""
        ours = {each.lower() for each in recipients}
        return sum(
            event.amount
            for block in self.blocks[: self.final + 1]
            for tx in block.txs
            if tx.status
            for event in tx.events
            if event.contract.lower() == contract.lower() and event.recipient.lower() in ours
        )

    def answer(self, method: str, params: list[Json], faults: Faults) -> Json:
        """Answer one call."""
        with self._lock:
            blocks = self.blocks[: len(self.blocks) - faults.lag]
            answers: dict[str, Callable[[], Json]] = {
                "eth_chainId": lambda: hex(faults.chain_id or self.chain_id),
                "eth_getCode": lambda: "0x60" if params[0].lower() in self.decimals else "0x",
                "eth_call": lambda: self._call(params[0], _at(blocks, params[1])),
                "eth_getBlockByNumber": lambda: self._header(blocks, params, faults),
                "eth_getLogs": lambda: self._logs(blocks, params[0], faults),
                "eth_getTransactionReceipt": lambda: self._receipt(blocks, params[0]),
                "eth_getBalance": lambda: hex(_native(_at(blocks, params[1]), params[0].lower())),
                "eth_getTransactionCount": lambda: hex(
                    _nonce(_at(blocks, params[1]), params[0].lower())
                ),
            }
            return answers[method]()

    def _hash(self, kind: str) -> str:
        return "0x" + hashlib.sha256(f"{kind}{next(self._salt)}".encode()).hexdigest()

    def _call(self, call: Json, blocks: list[Block]) -> str:
        contract, told = call["to"].lower(), call["data"]
        if told == DECIMALS:
            return hex(self.decimals[contract])
        address = "0x" + told[-40:]
        if told.startswith(IS_SANCTIONED):
            return self._screen(address)
        assert told.startswith(BALANCE_OF)
        gone = self.destroyed.get((contract, address), 0)
        return hex(_balance(blocks, contract, address) - gone)

    def _screen(self, address: str) -> str:
        if self.oracle_fails == "revert":
            raise LookupError("execution reverted")
        if self.oracle_fails is not None:
            return self.oracle_fails
        listed = address in {each.lower() for each in self.sanctioned}
        return "0x" + str(int(listed)).rjust(64, "0")

    def _header(self, blocks: list[Block], params: list[Json], faults: Faults) -> Json:
        tag = params[0]
        last = len(blocks) - 1
        number = {"latest": last, "finalized": max(last - FINAL_AFTER, 0)}.get(tag)
        number = int(tag, 16) if number is None else number
        if number > last:
            return None
        block = blocks[number]
        shown = "0x" + "66" * 32 if faults.lie_hash else block.hash
        whole = [
            {
                "hash": tx.hash,
                "from": tx.signer,
                "to": self.through.get(tx.hash, to),
                "value": hex(wei),
            }
            for tx in block.txs
            for _sender, to, wei in (tx.native or (("", "0x" + "00" * 20, 0),))
        ]
        return {"number": hex(number), "hash": shown, "transactions": whole}

    def _logs(self, blocks: list[Block], wanted: Json, faults: Faults) -> Json:
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        if faults.widest is not None and last - first + 1 > faults.widest:
            raise LookupError("query exceeds max block range")
        if faults.hide_logs:
            return []
        found = [log for block in blocks[first : last + 1] for log in _logs_of(block)]
        return [log for log in found if _matches(log, wanted)]

    def _receipt(self, blocks: list[Block], tx_hash: str) -> Json:
        for block in blocks:
            for tx in block.txs:
                if tx.hash == tx_hash and tx_hash not in self.lost:
                    logs = [log for log in _logs_of(block) if log["transactionHash"] == tx_hash]
                    return {
                        "status": hex(tx.status),
                        "from": tx.signer,
                        "logs": logs,
                        "gasUsed": hex(tx.fee),
                        "effectiveGasPrice": "0x1",
                    }
        return None


def _at(blocks: list[Block], tag: str) -> list[Block]:
    if tag == "latest":
        return blocks
    if int(tag, 16) >= len(blocks):
        raise LookupError("header not found")
    return blocks[: int(tag, 16) + 1]


def _logs_of(block: Block) -> list[Json]:
    logs: list[Json] = []
    for tx in block.txs:
        for event in tx.events if tx.status else ():
            logs.append(
                {
                    "address": event.contract,
                    "topics": [TRANSFER, topic(event.sender), topic(event.recipient)],
                    "data": "0x" + hex(event.amount)[2:].rjust(64, "0"),
                    "blockNumber": hex(block.number),
                    "blockHash": block.hash,
                    "transactionHash": tx.hash,
                    "logIndex": hex(len(logs)),
                }
            )
    return logs


def _matches(log: Json, wanted: Json) -> bool:
    if "address" in wanted and log["address"].lower() not in [
        each.lower() for each in wanted["address"]
    ]:
        return False
    for place, words in enumerate(wanted["topics"]):
        allowed = [words] if isinstance(words, str) else words
        if allowed is not None and log["topics"][place] not in allowed:
            return False
    return True


def _balance(blocks: list[Block], contract: str, address: str) -> int:
    moved = 0
    for event in (e for b in blocks for tx in b.txs if tx.status for e in tx.events):
        if event.contract.lower() == contract:
            moved += event.amount * (event.recipient.lower() == address)
            moved -= event.amount * (event.sender.lower() == address)
    return moved


def _native(blocks: list[Block], address: str) -> int:
    moved = 0
    for tx in (tx for block in blocks for tx in block.txs):
        for sender, recipient, wei in tx.native if tx.status else ():
            moved += wei * (recipient.lower() == address) - wei * (sender.lower() == address)
        moved -= tx.fee * (tx.signer.lower() == address)
    return moved


def _nonce(blocks: list[Block], address: str) -> int:
    return sum(tx.signer.lower() == address for block in blocks for tx in block.txs)


def moved(tx: Tx, **changes: Any) -> Tx:
    """Return a transaction with other contents and the same hash, as a reorganisation may."""
    return replace(tx, **changes)
