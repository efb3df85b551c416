"""
JSON-RPC of an Ethereum node over HTTP, with bounds on time and size.

    RpcError
    ├── Unreachable   no answer, or none that can be read; ask again later
    ├── Refused       the node said no, e.g. to a range that is too wide
    └── Lacking       the node does not have what it was asked for
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx
import msgspec

TIMEOUT_S: Final = 20.0
MOST_BYTES: Final = 32_000_000
BATCH: Final = 50
TOO_MANY: Final = 429


class RpcError(Exception):
    """An endpoint did not help; its address is a secret and in no text."""


class Unreachable(RpcError):
    """It gave no answer that can be read."""


class Refused(RpcError):
    """It answered with an error."""


class Lacking(RpcError):
    """It does not have the block or the receipt."""


class Node:
    """One endpoint of one chain."""

    def __init__(self, *, client: httpx.Client, url: str, label: str) -> None:
        self._client = client
        self._url = url
        self.label = label

    def ask(self, method: str, *params: Any) -> Any:
        """
        Call one method.

        :raises Unreachable: no answer that can be read
        :raises Refused: an error for an answer
        """
        return self._result(self._post(_call(0, method, params)))

    def ask_many(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """
        Call several methods in batches, answered in order.

        :raises Unreachable: no answer that can be read
        :raises Refused: an error for one of the answers
        """
        found: list[Any] = []
        for start in range(0, len(calls), BATCH):
            some = calls[start : start + BATCH]
            body = [_call(number, call[0], call[1:]) for number, call in enumerate(some)]
            answers = self._post(body)
            if not isinstance(answers, list):
                raise Refused(f"{self.label} takes no batches")
            by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
            found += [self._result(by_id.get(number)) for number in range(len(some))]
        return found

    def block(self, which: int | str) -> dict[str, Any]:
        """
        Return a block's header with the hashes of its transactions.

        :raises Lacking: the node has no such block
        """
        tag = which if isinstance(which, str) else hex(which)
        found = self.ask("eth_getBlockByNumber", tag, False)
        if not isinstance(found, dict) or not found.get("hash"):
            raise Lacking(f"{self.label} lacks block {which}")
        return found

    def receipt(self, tx_hash: str) -> dict[str, Any]:
        """
        Return the receipt of a transaction.

        :raises Lacking: the node has none
        """
        found = self.ask("eth_getTransactionReceipt", tx_hash)
        if not isinstance(found, dict):
            raise Lacking(f"{self.label} lacks the receipt of {tx_hash}")
        return found

    def _post(self, body: Any) -> Any:
        try:
            with self._client.stream("POST", self._url, json=body) as response:
                raw = self._bounded(response)
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.label}: {type(error).__name__}") from None
        # Some tell an error of JSON-RPC with a status of its own.
        try:
            answer = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            raise Unreachable(f"{self.label}: HTTP {response.status_code}, no JSON") from None
        if response.status_code == TOO_MANY:
            raise Unreachable(f"{self.label}: asked too often")
        return answer

    def _bounded(self, response: httpx.Response) -> bytes:
        raw = bytearray()
        for chunk in response.iter_bytes():
            raw += chunk
            if len(raw) > MOST_BYTES:
                raise Refused(f"{self.label}: an answer above {MOST_BYTES} bytes")
        return bytes(raw)

    def _result(self, answer: Any) -> Any:
        if not isinstance(answer, dict):
            raise Unreachable(f"{self.label}: no answer of JSON-RPC")
        if answer.get("error") is not None:
            error = answer["error"]
            code = error.get("code") if isinstance(error, dict) else None
            raise Refused(f"{self.label}: error {code}")
        if "result" not in answer:
            raise Unreachable(f"{self.label}: no result")
        return answer["result"]


@contextmanager
def nodes(urls: Sequence[str]) -> Iterator[list[Node]]:
    """Open the endpoints of a chain."""
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as client:
        yield [
            Node(client=client, url=url, label=f"RPC {place}")
            for place, url in enumerate(urls, start=1)
        ]


def number(word: Any) -> int:
    """
    Return the number in a hexadecimal word.

    :raises Unreachable: it is none
    """
    try:
        return int(word, 16)
    except (TypeError, ValueError):
        raise Unreachable(f"not a number: {str(word)[:40]!r}") from None


def _call(number: int, method: str, params: Sequence[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
