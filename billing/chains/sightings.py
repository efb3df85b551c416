"""Deposits that are not final yet: shown with their progress, credited nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db import transaction
from django.utils import timezone

from billing.chains import rpc, transfers
from billing.chains.config import Chain, Token
from billing.chains.rpc import Node
from billing.chains.transfers import Range
from billing.models import DepositAddress, NativeBalance, Sighting

log = structlog.get_logger(__name__)

# Finality is said by the chain, not by a clock: time alone never fills the bar.
MOST_PERCENT: Final = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Underway:
    """One deposit that is not final."""

    address: DepositAddress
    token: Token
    tx_hash: str
    block_number: int
    amount: int


def show(node: Node, *, chain: Chain, final: int, watched: Sequence[DepositAddress]) -> int:
    """
    Write anew what is under way on a chain; return its newest block.

    :raises billing.chains.rpc.RpcError: the endpoint has no newest block
    """
    latest = node.block("latest")
    head = rpc.number(latest["number"])
    try:
        found = list(_found(node, chain, final, head, watched))
    except rpc.RpcError as error:
        # Only a display: what is final was booked all the same.
        log.warning("Deposits under way were not seen", chain=chain.id, error=str(error))
        return head
    now = timezone.now()
    with transaction.atomic():
        Sighting.objects.filter(chain_id=chain.id).delete()
        Sighting.objects.bulk_create(_row(each, chain, head, now) for each in found)
    return head


def _found(
    node: Node, chain: Chain, final: int, head: int, watched: Sequence[DepositAddress]
) -> Iterator[Underway]:
    ours = {each.address: each for each in watched}
    tokens = {token.contract: token for token in chain.tokens}
    if head <= final or not ours:
        return
    first = max(final + 1, head - chain.max_range + 1)
    if tokens:
        span = Range(first=first, last=head)
        for move in transfers.look(node, span=span, ours=list(ours), contracts=list(tokens)):
            if move.recipient in ours and move.sender != move.recipient and move.amount:
                yield Underway(
                    address=ours[move.recipient],
                    token=tokens[move.contract],
                    tx_hash=move.tx_hash,
                    block_number=move.block_number,
                    amount=move.amount,
                )
    if chain.native is not None:
        yield from _native(node, chain, chain.native, head, watched)


def _native(
    node: Node, chain: Chain, token: Token, head: int, watched: Sequence[DepositAddress]
) -> Iterator[Underway]:
    # A balance does not say when it grew: it is as old as it was seen.
    before = {
        (row.address_id, row.amount): row.block_number
        for row in Sighting.objects.filter(chain_id=chain.id, asset=token.asset)
    }
    rows = NativeBalance.objects.filter(chain_id=chain.id)
    final = dict(rows.values_list("address_id", "balance"))
    words = node.ask_many([("eth_getBalance", each.address, "latest") for each in watched])
    for each, word in zip(watched, words, strict=True):
        more = rpc.number(word) - final.get(each.pk, 0)
        if more > 0:
            since = before.get((each.pk, more), head)
            yield Underway(address=each, token=token, tx_hash="", block_number=since, amount=more)


def _row(each: Underway, chain: Chain, head: int, now: datetime) -> Sighting:
    age_s = (head - each.block_number) * chain.block_s
    share = age_s / chain.finality_s if chain.finality_s > 0 else 1.0
    return Sighting(
        address=each.address,
        chain_id=chain.id,
        asset=each.token.asset,
        tx_hash=each.tx_hash,
        block_number=each.block_number,
        amount=each.amount,
        confirmations=head - each.block_number + 1,
        percent=min(int(share * 100), MOST_PERCENT),
        expected_at=now + timedelta(seconds=max(chain.finality_s - age_s, chain.block_s)),
    )
