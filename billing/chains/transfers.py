"""
ERC-20 transfers in the logs of a range of blocks, as two endpoints agree on them.

An empty answer proves nothing: a node that lacks a block answers with none. So both are asked
for the range's last block first, then for the logs, and what they say must be the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from billing.chains import addresses, rpc
from billing.chains.rpc import Node

TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
TOPICS: Final = 3
WORD_LENGTH: Final = 66
# How many addresses one filter names.
ADDRESSES_AT_ONCE: Final = 500


class Disagreement(Exception):
    """Two endpoints tell different things of the same final block: nothing is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Blocks of a chain, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Move:
    """One Transfer event; addresses with their checksum, the contract in lower case."""

    block_number: int
    log_index: int
    tx_hash: str
    block_hash: str
    contract: str
    sender: str
    recipient: str
    amount: int


def agreed_hash(nodes: Sequence[Node], *, number: int) -> str:
    """
    Return the hash of a block that all endpoints have alike.

    :raises Disagreement: they have different blocks of this number
    :raises billing.chains.rpc.RpcError: one does not have it
    """
    hashes = {str(node.block(number)["hash"]).lower() for node in nodes}
    if len(hashes) > 1:
        raise Disagreement(f"block {number} has different hashes at different endpoints")
    return hashes.pop()


def agreed(
    nodes: Sequence[Node], *, span: Range, ours: Sequence[str], contracts: Sequence[str]
) -> list[Move]:
    """
    Return the transfers of listed contracts to or from our addresses.

    :raises Disagreement: the endpoints tell different logs
    :raises billing.chains.rpc.RpcError: one did not answer
    """
    if not ours or not contracts:
        return []
    first, *others = [look(node, span=span, ours=ours, contracts=contracts) for node in nodes]
    if any(other != first for other in others):
        raise Disagreement(f"logs of {span.first}-{span.last} differ between the endpoints")
    return first


def look(
    node: Node, *, span: Range, ours: Sequence[str], contracts: Sequence[str] | None
) -> list[Move]:
    """
    Return what one endpoint tells of transfers to our addresses, and from them if listed.

    :raises billing.chains.rpc.RpcError: it did not answer
    """
    found: set[Move] = set()
    for start in range(0, len(ours), ADDRESSES_AT_ONCE):
        words = [addresses.topic(each) for each in ours[start : start + ADDRESSES_AT_ONCE]]
        sides: list[list[Any]] = [[TRANSFER, None, words]]
        if contracts is not None:
            sides.append([TRANSFER, words])
        for topics in sides:
            wanted: dict[str, Any] = {
                "fromBlock": hex(span.first), "toBlock": hex(span.last), "topics": topics,
            }  # fmt: skip
            if contracts is not None:
                wanted["address"] = list(contracts)
            logs = node.ask("eth_getLogs", wanted)
            if not isinstance(logs, list):
                raise rpc.Unreachable(f"{node.label}: logs are no list")
            found |= {move for log in logs if (move := read(log)) is not None}
    known = {each.lower() for each in ours}
    allowed = None if contracts is None else set(contracts)
    return sorted(
        move
        for move in found
        # An endpoint that answers more than it was asked changes nothing.
        if span.first <= move.block_number <= span.last
        and (allowed is None or move.contract in allowed)
        and (move.recipient.lower() in known or (allowed and move.sender.lower() in known))
    )


def read(log: Any) -> Move | None:
    """
    Read one log; None if it is no ERC-20 transfer, or was taken back.

    :raises billing.chains.rpc.Unreachable: it is none at all
    """
    try:
        topics = log["topics"]
        if len(topics) != TOPICS or topics[0].lower() != TRANSFER or log.get("removed"):
            return None
        if len(log["data"]) != WORD_LENGTH:
            return None
        return Move(
            block_number=rpc.number(log["blockNumber"]),
            log_index=rpc.number(log["logIndex"]),
            tx_hash=str(log["transactionHash"]).lower(),
            block_hash=str(log["blockHash"]).lower(),
            contract=str(log["address"]).lower(),
            sender=addresses.of_topic(topics[1]),
            recipient=addresses.of_topic(topics[2]),
            amount=rpc.number(log["data"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        raise rpc.Unreachable("a log that cannot be read") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a transaction's receipt says of a transfer: its place there, and who signed."""

    ordinal: int
    origin: str


def proof(node: Node, move: Move) -> Proof:
    """
    Return what a transaction's receipt says of a transfer, once the receipt shows it.

    The place in the block is no key: a reorganisation changes it.

    :raises Disagreement: the receipt does not show this transfer, or the transaction failed
    :raises billing.chains.rpc.RpcError: the endpoint did not answer
    """
    receipt = node.receipt(move.tx_hash)
    if rpc.number(receipt.get("status")) != 1:
        raise Disagreement(f"{move.tx_hash} failed, and yet has a log")
    for place, log in enumerate(receipt.get("logs") or []):
        if rpc.number(log.get("logIndex")) == move.log_index:
            if read(log) != move:
                break
            return Proof(ordinal=place, origin=str(receipt.get("from") or ""))
    raise Disagreement(f"the receipt of {move.tx_hash} does not show its log")
