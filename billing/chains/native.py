"""
A chain's own money, by the balances of final blocks.

Contracts can send it without a log and without a transaction that names the recipient; the
balance shows all of it. Only the address itself can send, and each time its nonce grows: the
blocks in which it did are looked for one by one, so that what left hides nothing that came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from billing import incidents
from billing.chains import deposits, rpc, screening
from billing.chains.config import Chain, Token
from billing.chains.deposits import Seen
from billing.chains.rpc import Node
from billing.chains.transfers import Disagreement
from billing.models import Alert, Deposit, DepositAddress, NativeBalance


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Balance and nonce of an address after a block."""

    number: int
    balance: int
    nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What came in and what left in the blocks up to this one."""

    number: int
    came: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A transaction that names an address."""

    tx_hash: str
    sender: str
    amount: int


def scan(
    nodes: Sequence[Node],
    *,
    chain: Chain,
    token: Token,
    since: int,
    number: int,
    block_hash: str,
    watched: Sequence[DepositAddress],
) -> int:
    """
    Book what the balances at a final block show; return how many deposits are new.

    `since` is the block of the last look: who paid is looked for after it.

    :raises billing.chains.transfers.Disagreement: the endpoints tell different balances
    :raises billing.chains.rpc.RpcError: one did not answer
    """
    known = {row.address_id: row for row in NativeBalance.objects.filter(chain_id=chain.id)}
    found = standings(nodes, number=number, watched=watched)
    new = 0
    for address in watched:
        row, now = known.get(address.pk), found[address.pk]
        before = _before(row, now)
        if row is not None and now.number <= before.number:
            continue
        if (now.balance, now.nonce) == (before.balance, before.nonce):
            continue
        try:
            changes = list(_changes(nodes, address.address, before, now))
            doubt = _doubt(nodes, chain, address.address, since, now, changes)
        except Disagreement as trouble:
            # One address must not keep the others from their money.
            _report(chain, address, trouble)
            continue
        incidents.end(kind=Alert.Kind.CHAIN_TROUBLE, subject=_subject(chain, address))
        new += _book(chain, token, block_hash, address, before, now, changes, doubt)
    return new


def _before(row: NativeBalance | None, now: Standing) -> Standing:
    if row is None:
        return Standing(number=max(now.number - 1, 0), balance=0, nonce=0)
    return Standing(number=row.block_number, balance=row.balance, nonce=row.nonce)


def _report(chain: Chain, address: DepositAddress, trouble: Disagreement) -> None:
    incidents.begin(
        kind=Alert.Kind.CHAIN_TROUBLE,
        subject=_subject(chain, address),
        facts={"what": str(trouble), "chain": chain.name},
    )


def _subject(chain: Chain, address: DepositAddress) -> str:
    return f"native:{chain.id}:{address.address}"


@transaction.atomic
def _book(
    chain: Chain,
    token: Token,
    block_hash: str,
    address: DepositAddress,
    before: Standing,
    now: Standing,
    changes: Sequence[Change],
    doubt: Deposit.Doubt,
) -> int:
    """Book the changes and remember the balance, together: the one explains the other."""
    DepositAddress.objects.select_for_update(no_key=True).get(pk=address.pk)
    row = NativeBalance.objects.filter(chain_id=chain.id, address=address).first()
    if _before(row, now) != before:
        return 0
    new = 0
    for change in changes:

        def seen(amount: int, number: int = change.number) -> Seen:
            return Seen(
                address=address,
                token=token,
                block_number=number,
                block_hash=block_hash if number == now.number else "",
                amount=amount,
            )

        if change.came and deposits.book(seen(change.came), chain=chain, doubt=doubt):
            new += 1
        if change.left:
            deposits.book_outflow(seen(change.left))
    NativeBalance.objects.update_or_create(
        chain_id=chain.id,
        address=address,
        defaults={"block_number": now.number, "balance": now.balance, "nonce": now.nonce},
    )
    return new


def _changes(
    nodes: Sequence[Node], address: str, before: Standing, now: Standing
) -> Iterator[Change]:
    delta = now.balance - before.balance
    if now.nonce == before.nonce:
        if delta < 0:
            raise Disagreement(f"{address} lost money without sending any")
        if delta:
            yield Change(number=now.number, came=delta, left=0)
        return
    if now.number - before.number <= 1:
        left = _sent(nodes, address, now.number)
        if delta + left < 0:
            raise Disagreement(f"{address} lost more than it sent in block {now.number}")
        yield Change(number=now.number, came=delta + left, left=left)
        return
    middle = (before.number + now.number) // 2
    between = _standing(nodes, address, middle)
    yield from _changes(nodes, address, before, between)
    yield from _changes(nodes, address, between, now)


def _doubt(
    nodes: Sequence[Node],
    chain: Chain,
    address: str,
    since: int,
    now: Standing,
    changes: Sequence[Change],
) -> Deposit.Doubt:
    came = sum(change.came for change in changes)
    if not came or not screening.screens(chain=chain):
        return Deposit.Doubt.NONE
    try:
        first = _standing(nodes, address, min(since, now.number - 1))
        paid = list(_payments(nodes, address, first, now))
    except rpc.Refused:
        # An endpoint keeps old balances for some time only.
        return Deposit.Doubt.UNSCREENED
    found = screening.doubt(nodes, chain=chain, senders=[each.sender for each in paid])
    if not found and chain.hold_unseen and sum(each.amount for each in paid) < came:
        return Deposit.Doubt.UNSEEN
    return found


def _payments(
    nodes: Sequence[Node], address: str, before: Standing, now: Standing
) -> Iterator[Payment]:
    """Find the transactions that name an address, in the blocks in which its balance changed."""
    if (before.balance, before.nonce) == (now.balance, now.nonce):
        return
    if now.number - before.number > 1:
        between = _standing(nodes, address, (before.number + now.number) // 2)
        yield from _payments(nodes, address, before, between)
        yield from _payments(nodes, address, between, now)
        return
    # Who one endpoint leaves out the other one names.
    yield from {each for node in nodes for each in _payments_in(node, address, now.number)}


def _payments_in(node: Node, address: str, number: int) -> Iterator[Payment]:
    for each in _transactions(node, number):
        if str(each.get("to") or "").lower() == address.lower():
            amount = rpc.number(each["value"])
            yield Payment(tx_hash=str(each["hash"]), sender=str(each["from"]), amount=amount)


def _sent(nodes: Sequence[Node], address: str, number: int) -> int:
    """Return what an address's own transactions took from it in a block, fees included."""
    told = {_sent_at(node, address, number) for node in nodes}
    if len(told) > 1:
        raise Disagreement(f"endpoints tell different transactions of block {number}")
    return told.pop()


def _sent_at(node: Node, address: str, number: int) -> int:
    total = 0
    for each in _transactions(node, number):
        if str(each["from"]).lower() != address.lower():
            continue
        receipt = node.receipt(each["hash"])
        total += rpc.number(receipt["gasUsed"]) * rpc.number(receipt["effectiveGasPrice"])
        # Rollups charge what they pay for their data beside the gas.
        total += rpc.number(receipt.get("l1Fee") or "0x0")
        if rpc.number(receipt["status"]) == 1 and str(each["to"]).lower() != address.lower():
            total += rpc.number(each["value"])
    return total


def _transactions(node: Node, number: int) -> list[dict[str, Any]]:
    block = node.ask("eth_getBlockByNumber", hex(number), True)
    if not isinstance(block, dict):
        raise rpc.Lacking(f"{node.label} lacks block {number}")
    found: list[dict[str, Any]] = block["transactions"]
    return found


def _standing(nodes: Sequence[Node], address: str, number: int) -> Standing:
    calls: list[tuple[Any, ...]] = [
        (method, address, hex(number)) for method in ("eth_getBalance", "eth_getTransactionCount")
    ]
    told = {tuple(rpc.number(word) for word in node.ask_many(calls)) for node in nodes}
    if len(told) > 1:
        raise Disagreement(f"endpoints tell different balances at block {number}")
    balance, nonce = told.pop()
    return Standing(number=number, balance=balance, nonce=nonce)


def standings(
    nodes: Sequence[Node], *, number: int, watched: Sequence[DepositAddress]
) -> dict[int, Standing]:
    """
    Return what all endpoints say addresses have after a block.

    :raises billing.chains.transfers.Disagreement: they say different things
    :raises billing.chains.rpc.RpcError: one did not answer
    """
    calls: list[tuple[Any, ...]] = [
        (method, each.address, hex(number))
        for each in watched
        for method in ("eth_getBalance", "eth_getTransactionCount")
    ]
    told = [[rpc.number(word) for word in node.ask_many(calls)] for node in nodes]
    if any(other != told[0] for other in told):
        raise Disagreement(f"balances at block {number} differ between the endpoints")
    words = iter(told[0])
    return {
        each.pk: Standing(number=number, balance=next(words), nonce=next(words)) for each in watched
    }
