"""
Looking at a chain: what is final is booked, what is not is shown.

The cursor (number, hash) moves only after everything up to it is booked, and booking the same
again changes nothing: so a crash, a second watcher or a lost answer only means one more look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from billing import incidents
from billing.chains import (
    config,
    deposits,
    identity,
    native,
    rpc,
    screening,
    sightings,
    transfers,
)
from billing.chains.config import Chain, Token
from billing.chains.deposits import Seen
from billing.chains.rpc import Node
from billing.chains.transfers import Disagreement, Move, Range
from billing.models import Alert, ChainCursor, Deposit, DepositAddress, UnlistedToken

log = structlog.get_logger(__name__)

RESCAN_EVERY: Final = timedelta(hours=1)
# Anybody can write logs: what is unlisted is noted, but never without bound.
MOST_UNLISTED: Final = 100
LOCK: Final = "select pg_try_advisory_lock(hashtextextended('tollgate.chain:' || %s, 0))"
UNLOCK: Final = "select pg_advisory_unlock(hashtextextended('tollgate.chain:' || %s, 0))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a chain did; `trouble` says why it stopped early."""

    through: int | None = None
    new: int = 0
    trouble: str = ""


def watch(*, chain: Chain) -> Look:
    """Look at a chain once; another look at the same time ends at once."""
    with _alone(chain.id) as alone:
        if not alone:
            return Look(trouble="somebody else is looking")
        subject = f"chain:{chain.id}"
        try:
            with rpc.nodes(chain.rpc) as nodes:
                look = _look(chain, nodes)
        except rpc.Unreachable as error:
            # Told only when it lasts: scanned_at is watched (reconciliation.stale).
            log.warning("A chain could not be looked at", chain=chain.id, error=str(error))
            return Look(trouble=str(error))
        except (rpc.RpcError, Disagreement, deposits.Contradiction, identity.Mismatch) as error:
            facts = {"chain": chain.name, "what": str(error)}
            # A node that is a block behind lacks it for a moment: no news.
            if not isinstance(error, rpc.RpcError):
                incidents.begin(kind=Alert.Kind.CHAIN_TROUBLE, subject=subject, facts=facts)
            log.warning("A chain was not believed", chain=chain.id, error=str(error))
            return Look(trouble=str(error))
        incidents.end(kind=Alert.Kind.CHAIN_TROUBLE, subject=subject)
        return look


@contextmanager
def _alone(chain_id: int) -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [str(chain_id)])
        got = bool(cursor.fetchone()[0])
    try:
        yield got
    finally:
        if got:
            with connection.cursor() as cursor:
                cursor.execute(UNLOCK, [str(chain_id)])


def _look(chain: Chain, nodes: Sequence[Node]) -> Look:
    identity.check(nodes, chain=chain)
    final, final_hash = _final(nodes)
    cursor = _cursor(chain, nodes, final, final_hash)
    _unchanged(nodes, cursor)
    watched = list(DepositAddress.objects.order_by("id"))
    since = min(cursor.number if cursor.native_number is None else cursor.native_number, final)
    new = _advance(chain, nodes, cursor, final, watched)
    new += _credit_listed(chain, nodes, watched)
    if timezone.now() - cursor.rescanned_at > RESCAN_EVERY:
        new += rescan(chain=chain, nodes=nodes, cursor=cursor, watched=watched)
    if chain.native is not None:
        new += native.scan(
            nodes,
            chain=chain,
            token=chain.native,
            since=since,
            number=final,
            block_hash=final_hash,
            watched=watched,
        )
        ChainCursor.objects.filter(pk=chain.id).update(native_number=final)
    head = sightings.show(nodes[0], chain=chain, final=final, watched=watched)
    # Not the number: that moved range by range.
    ChainCursor.objects.filter(pk=chain.id).update(head=head, scanned_at=timezone.now())
    return Look(through=final, new=new)


def _final(nodes: Sequence[Node]) -> tuple[int, str]:
    """Return the last block that all endpoints have as final, with the hash they agree on."""
    number = min(rpc.number(node.block("finalized")["number"]) for node in nodes)
    return number, transfers.agreed_hash(nodes, number=number)


def _cursor(chain: Chain, nodes: Sequence[Node], final: int, final_hash: str) -> ChainCursor:
    found = ChainCursor.objects.filter(pk=chain.id).first()
    if found is not None:
        return found
    start = final - chain.rescan_blocks if chain.start_block is None else chain.start_block - 1
    start = max(min(start, final), 0)
    start_hash = final_hash if start == final else transfers.agreed_hash(nodes, number=start)
    return ChainCursor.objects.create(chain_id=chain.id, number=start, block_hash=start_hash)


def _unchanged(nodes: Sequence[Node], cursor: ChainCursor) -> None:
    if transfers.agreed_hash(nodes, number=cursor.number) != cursor.block_hash:
        raise Disagreement(
            f"block {cursor.number} was final and is another one now: stop, and find out why"
        )


def _advance(
    chain: Chain,
    nodes: Sequence[Node],
    cursor: ChainCursor,
    final: int,
    watched: Sequence[DepositAddress],
) -> int:
    new = 0
    for span, last_hash, found in _read(chain, nodes, cursor.number + 1, final, watched):
        new += found
        cursor.number, cursor.block_hash = span.last, last_hash
        cursor.save(update_fields=["number", "block_hash"])
    return new


def _read(
    chain: Chain,
    nodes: Sequence[Node],
    first: int,
    last: int,
    watched: Sequence[DepositAddress],
) -> Iterator[tuple[Range, str, int]]:
    """Book what is in blocks, range by range; say of each its last hash and what was new."""
    width = chain.max_range
    while first <= last:
        span = Range(first=first, last=min(first + width - 1, last))
        try:
            last_hash, new = _scan(chain, nodes, span, watched)
        except rpc.Refused:
            # Each operator limits blocks or results in another way: ask for less.
            if width == 1:
                raise
            width = max(width // 2, 1)
            continue
        yield span, last_hash, new
        first = span.last + 1


def rescan(
    *,
    chain: Chain,
    nodes: Sequence[Node],
    cursor: ChainCursor,
    watched: Sequence[DepositAddress],
) -> int:
    """Look at the last final blocks again; what is found only now was hidden before."""
    first = max(cursor.number - chain.rescan_blocks + 1, 0)
    new = sum(found for *_, found in _read(chain, nodes, first, cursor.number, watched))
    cursor.rescanned_at = timezone.now()
    cursor.save(update_fields=["rescanned_at"])
    if new:
        log.error("A second look found what the first had not", chain=chain.id, deposits=new)
    return new


def _credit_listed(chain: Chain, nodes: Sequence[Node], watched: Sequence[DepositAddress]) -> int:
    """Book what came of tokens before they were on the list, where a person said so."""
    new = 0
    # A worker that was not restarted yet does not know the new list: it leaves them to the next.
    decided = UnlistedToken.objects.filter(
        chain_id=chain.id,
        contract__in=[token.contract for token in chain.tokens],
        resolution=UnlistedToken.Resolution.CREDITED,
        resolved_at=None,
    )
    for row in decided.order_by("id"):
        parts = _read(chain, nodes, row.first_block, row.block_number, watched)
        new += sum(found for *_, found in parts)
        UnlistedToken.objects.filter(pk=row.pk).update(resolved_at=timezone.now())
    return new


def _scan(
    chain: Chain, nodes: Sequence[Node], span: Range, watched: Sequence[DepositAddress]
) -> tuple[str, int]:
    last_hash = transfers.agreed_hash(nodes, number=span.last)
    ours = {each.address: each for each in watched}
    tokens = {token.contract: token for token in chain.tokens}
    moves = transfers.agreed(nodes, span=span, ours=list(ours), contracts=list(tokens))
    # Behind a proxy the contract may be another one since the last hour.
    for contract in {move.contract for move in moves}:
        for node in nodes:
            identity.contract(node, chain=chain, token=tokens[contract])
    new = 0
    for move in moves:
        if move.amount and move.sender != move.recipient:
            new += _book(chain, nodes, move, tokens[move.contract], ours)
    _note_unlisted(chain, nodes[0], span, ours)
    return last_hash, new


def _book(
    chain: Chain,
    nodes: Sequence[Node],
    move: Move,
    token: Token,
    ours: dict[str, DepositAddress],
) -> int:
    proof = transfers.proof(nodes[-1], move)

    def seen(mine: str, other: str) -> Seen:
        return Seen(
            address=ours[mine],
            token=token,
            block_number=move.block_number,
            block_hash=move.block_hash,
            amount=move.amount,
            tx_hash=move.tx_hash,
            ordinal=proof.ordinal,
            other=other,
        )

    new = 0
    if move.recipient in ours:
        came = seen(move.recipient, move.sender)
        doubt = Deposit.Doubt.NONE
        if not deposits.is_booked(came):
            senders = (move.sender, proof.origin)
            doubt = screening.doubt(nodes, chain=chain, senders=senders)
        new += deposits.book(came, chain=chain, doubt=doubt) is not None
    if move.sender in ours:
        deposits.book_outflow(seen(move.sender, move.recipient))
    return new


def _note_unlisted(chain: Chain, node: Node, span: Range, ours: dict[str, DepositAddress]) -> None:
    """Write down tokens that are on no list, as far as an endpoint tells them."""
    if not ours:
        return
    try:
        moves = transfers.look(node, span=span, ours=list(ours), contracts=None)
    except rpc.RpcError as error:
        # Anybody can make this fail with a flood of logs; nobody's money depends on it.
        log.warning("Unlisted tokens were not looked for", chain=chain.id, error=str(error))
        return
    listed = {token.contract for token in chain.tokens}
    strange = [move for move in moves if move.contract not in listed and move.amount]
    for move in strange[:MOST_UNLISTED]:
        _note(chain, move, ours[move.recipient])


@transaction.atomic
def _note(chain: Chain, move: Move, address: DepositAddress) -> None:
    row, made = UnlistedToken.objects.select_for_update().get_or_create(
        chain_id=chain.id,
        contract=move.contract,
        address=address,
        defaults={
            "tx_hash": move.tx_hash,
            "amount": str(move.amount),
            "first_block": move.block_number,
            "block_number": move.block_number,
        },
    )
    if made or move.block_number <= row.block_number:
        return
    again: dict[str, object] = {}
    if row.resolution not in ("", UnlistedToken.Resolution.WORTHLESS):
        # What was sent back or credited came again: that is another question.
        again = {"resolution": "", "resolved_at": None, "first_block": move.block_number}
    UnlistedToken.objects.filter(pk=row.pk).update(
        transfers=F("transfers") + 1,
        tx_hash=move.tx_hash,
        amount=str(move.amount),
        block_number=move.block_number,
        **again,
    )


def ready() -> bool:
    """Whether every configured chain is watched: before that no address is given out."""
    wanted = {chain.id for chain in config.current().chains}
    return wanted <= set(ChainCursor.objects.values_list("chain_id", flat=True))
