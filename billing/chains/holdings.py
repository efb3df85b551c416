"""What a workspace sees of its crypto: per asset, under way, arrived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet, Sum
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import ledger
from billing.chains import config, deposits
from billing.chains.config import Chain, Token, written
from billing.models import Deposit, DepositAddress, Sighting

WAITING: Final = (Deposit.State.ACCUMULATING, Deposit.State.SUSPENDED)
LABELS: Final = {
    Deposit.State.ACCUMULATING: gettext_lazy("waits for the minimum"),
    Deposit.State.SUSPENDED: gettext_lazy("being looked into"),
    Deposit.State.REJECTED: gettext_lazy("not credited"),
    Deposit.State.CREDITED: gettext_lazy("received"),
    Deposit.State.CONVERTED: gettext_lazy("converted to US dollars"),
    Deposit.State.KEPT: gettext_lazy("kept"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One asset, in coins; `converted` is what became US dollars."""

    asset: str
    symbol: str
    chain: str
    chain_id: int
    contract: str
    minimum: str
    finality_s: float
    pending: str
    waiting: str
    received: str
    converted: str
    balance: str
    uncounted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One deposit, final or not; an asset that is accepted no more keeps its name."""

    id: str
    asset: str
    symbol: str
    chain: str
    amount: str
    state: str
    label: str
    tx_hash: str
    confirmations: int | None
    percent: int
    at: object


def holdings(*, address: DepositAddress | None) -> list[Holding]:
    """Return every accepted asset with what an address's workspace has of it."""
    return [
        _holding(address, token, chain)
        for chain in config.current().chains
        for token in chain.accepted
    ]


def _holding(address: DepositAddress | None, token: Token, chain: Chain) -> Holding:
    pending = waiting = units = balance = uncounted = 0
    if address is not None:
        seen = Sighting.objects.filter(address=address, asset=token.asset)
        pending = int(seen.aggregate(sum=Sum("amount"))["sum"] or 0)
        mine = Deposit.objects.filter(address=address, asset=token.asset)
        open_ones = mine.filter(state__in=WAITING)
        waiting = int(open_ones.aggregate(sum=Sum("amount"))["sum"] or 0)
        units = int(mine.aggregate(sum=Sum("units"))["sum"] or 0)
        balance = ledger.balance(workspace_id=address.workspace_id, asset=token.asset).total
        uncounted = deposits.uncounted(token=token, address=address).get(address.pk, 0)
    return Holding(
        asset=token.asset,
        symbol=token.symbol,
        chain=chain.name,
        chain_id=token.chain_id,
        contract=token.contract,
        minimum=written(token.least, token.decimals),
        finality_s=chain.finality_s,
        pending=written(pending, token.decimals),
        waiting=written(waiting, token.decimals),
        received=written(units, token.ledger_decimals),
        # Coins leave an account in no other way.
        converted=written(units - balance, token.ledger_decimals),
        balance=written(balance, token.ledger_decimals),
        uncounted=written(uncounted, token.decimals),
    )


def underway(*, address: DepositAddress) -> list[Row]:
    """Return what is not final yet."""
    tokens, chains = config.tokens(), _chains()
    return [
        Row(
            id="",
            asset=seen.asset,
            symbol=tokens[seen.asset].symbol,
            chain=chains[seen.chain_id],
            amount=written(seen.amount, tokens[seen.asset].decimals),
            state="pending",
            label=_("pending"),
            tx_hash=seen.tx_hash,
            confirmations=seen.confirmations,
            percent=seen.percent,
            at=seen.expected_at,
        )
        for seen in Sighting.objects.filter(address=address).order_by("expected_at", "id")
        if seen.asset in tokens
    ]


def arrived(*, address: DepositAddress | None) -> QuerySet[Deposit]:
    """Return what arrived, the newest first."""
    if address is None:
        return Deposit.objects.none()
    return Deposit.objects.filter(address=address).order_by("-id")


def row(deposit: Deposit) -> Row:
    """Return a deposit as people read it."""
    # What arrived stays on record where chains are taken no more.
    token = config.tokens().get(deposit.asset) if config.configured() else None
    return Row(
        id=deposit.public_id,
        asset=deposit.asset,
        symbol=token.symbol if token else deposit.asset.partition("@")[0],
        chain=_chains().get(deposit.chain_id, str(deposit.chain_id)),
        amount=written(deposit.amount, token.decimals) if token else str(deposit.amount),
        state=deposit.state,
        label=str(LABELS[Deposit.State(deposit.state)]),
        tx_hash=deposit.tx_hash,
        confirmations=None,
        percent=100,
        at=deposit.credited_at or deposit.found_at,
    )


def _chains() -> dict[int, str]:
    return (
        {chain.id: chain.name for chain in config.current().chains} if config.configured() else {}
    )
