"""Booking what arrived and what left: each once, whoever finds it how often."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import structlog
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts import audit
from accounts.actors import Actor
from billing import incidents, ledger, notices
from billing.chains.config import Chain, Token, written
from billing.models import Alert, Deposit, DepositAddress, Outflow
from common import ids

log = structlog.get_logger(__name__)

DEPOSIT: Final = "deposit"
SWEEP: Final = "sweep"
DONE: Final = (Deposit.State.CREDITED, Deposit.State.CONVERTED, Deposit.State.KEPT)


class Contradiction(Exception):
    """What was booked before is another thing now; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One final movement of accepted money; native money has no transaction."""

    address: DepositAddress
    token: Token
    block_number: int
    block_hash: str
    amount: int
    tx_hash: str = ""
    ordinal: int = 0
    other: str = ""

    @property
    def key(self) -> dict[str, object]:
        """What makes it this one."""
        chain = {"chain_id": self.token.chain_id}
        if self.tx_hash:
            return chain | {"tx_hash": self.tx_hash, "ordinal": self.ordinal}
        return chain | {
            "tx_hash": "",
            "address": self.address,
            "asset": self.token.asset,
            "block_number": self.block_number,
        }

    @property
    def reference(self) -> str:
        """How a person finds it on the chain."""
        where = f"{self.tx_hash}:{self.ordinal}" if self.tx_hash else f"block {self.block_number}"
        return f"{self.token.chain_id}:{where}"


def is_booked(seen: Seen) -> bool:
    """Whether a deposit is booked already."""
    return Deposit.objects.filter(**seen.key).exists()


@transaction.atomic
def book(seen: Seen, *, chain: Chain, doubt: Deposit.Doubt = Deposit.Doubt.NONE) -> Deposit | None:
    """
    Book a deposit; None if it is booked already. What is in doubt waits for a person.

    :raises Contradiction: it was booked with another amount
    """
    # One at a time for an address: what is below the minimum is added up.
    # Read anew: what is wanted of deposits may have changed since the look at the chain began.
    rows = DepositAddress.objects.select_for_update(no_key=True, of=("self",))
    seen = replace(seen, address=rows.select_related("workspace").get(pk=seen.address.pk))
    before = Deposit.objects.filter(**seen.key).first()
    if before is not None:
        _same(before, seen)
        return None
    doubt = doubt or _doubt(seen)
    state = Deposit.State.SUSPENDED if doubt else Deposit.State.ACCUMULATING
    deposit = Deposit.objects.create(**_columns(seen), sender=seen.other, state=state, doubt=doubt)
    if doubt:
        incidents.begin(
            kind=Alert.Kind.CHAIN_TROUBLE,
            subject=f"deposit:{deposit.public_id}",
            facts={
                "what": "A deposit waits for a decision, in the admin site: Deposits.",
                "why": str(doubt.label),
                "chain": chain.name,
                "amount": f"{written(seen.amount, seen.token.decimals)} {seen.token.symbol}",
            },
        )
    credit_open(address=seen.address, token=seen.token)
    return deposit


def _columns(seen: Seen) -> dict[str, object]:
    return {
        "address": seen.address,
        "chain_id": seen.token.chain_id,
        "asset": seen.token.asset,
        "tx_hash": seen.tx_hash,
        "ordinal": seen.ordinal,
        "block_number": seen.block_number,
        "block_hash": seen.block_hash,
        "amount": seen.amount,
    }


def _same(before: Deposit | Outflow, seen: Seen) -> None:
    booked = (before.amount, before.asset, before.address_id)
    if booked != (seen.amount, seen.token.asset, seen.address.pk):
        raise Contradiction(f"{seen.reference} was booked before as something else")


def _doubt(seen: Seen) -> Deposit.Doubt:
    # Nobody could spend it, and nobody would see it.
    if seen.address.workspace.closed_at is not None:
        return Deposit.Doubt.CLOSED
    most = seen.token.most_unseen
    large = most is not None and seen.amount > most
    return Deposit.Doubt.LARGE if large else Deposit.Doubt.NONE


def credit_open(*, address: DepositAddress, token: Token) -> None:
    """Credit what waits at an address, once it is the minimum; under the address's lock."""
    mine = Deposit.objects.filter(address=address, asset=token.asset)
    waiting = list(mine.filter(state=Deposit.State.ACCUMULATING).order_by("id"))
    if sum(each.amount for each in waiting) < token.least:
        return
    done = mine.filter(state__in=DONE).aggregate(amount=Sum("amount"), units=Sum("units"))
    amount, units = int(done["amount"] or 0), int(done["units"] or 0)
    now = timezone.now()
    for each in waiting:
        # What is below the ledger's unit stays at the address and counts with the next.
        amount += each.amount
        each.units = amount // token.scale - units
        units += each.units
        each.state = (
            Deposit.State.KEPT if address.keep or not each.units else Deposit.State.CREDITED
        )
        each.credited_at = now
        each.save(update_fields=["units", "state", "credited_at"])
    _post(address=address, token=token, credited=[each for each in waiting if each.units])


def _post(*, address: DepositAddress, token: Token, credited: list[Deposit]) -> None:
    home = ledger.open_account(workspace_id=address.workspace_id, asset=token.asset)
    wallet = ledger.house_account(kind="wallet_deposit", asset=token.asset)
    ledger.post(
        *(
            ledger.Transfer(
                kind=DEPOSIT,
                source=ids.source(DEPOSIT, each.public_id),
                debit=wallet,
                credit=home,
                asset=token.asset,
                amount=each.units,
                reference=f"{each.chain_id}:{each.tx_hash or each.block_number}:{each.ordinal}",
                reason=f"{written(each.amount, token.decimals)} {token.symbol}",
            )
            for each in credited
        )
    )
    for each in credited:
        log.info("Deposit credited", deposit=each.public_id, asset=token.asset)
        notices.tell_top_up(
            workspace_id=address.workspace_id,
            method="crypto",
            asset=token.asset,
            amount=written(each.amount, token.decimals),
            reference=each.public_id,
        )


def uncounted(*, token: Token, address: DepositAddress | None = None) -> dict[int, int]:
    """
    Return what was credited at addresses (by their id) and is below the ledger's unit.

    It lies there in the token's smallest units and counts with what comes next: it is never
    as much as one unit, and never less than nothing.
    """
    done = Deposit.objects.filter(asset=token.asset, state__in=DONE)
    if address is not None:
        done = done.filter(address=address)
    sums = done.order_by().values_list("address_id")
    return {
        address_id: int(amount) - int(units) * token.scale
        for address_id, amount, units in sums.annotate(Sum("amount"), Sum("units"))
    }


@transaction.atomic
def book_outflow(seen: Seen) -> Outflow | None:
    """
    Book what left an address; None if it is booked already.

    :raises Contradiction: it was booked with another amount
    """
    DepositAddress.objects.select_for_update(no_key=True).get(pk=seen.address.pk)
    before = Outflow.objects.filter(**seen.key).first()
    if before is not None:
        _same(before, seen)
        return None
    mine = Outflow.objects.filter(address=seen.address, asset=seen.token.asset)
    amount = int(mine.aggregate(amount=Sum("amount"))["amount"] or 0)
    scale = seen.token.scale
    units = (amount + seen.amount) // scale - amount // scale
    outflow = Outflow.objects.create(**_columns(seen), recipient=seen.other)
    if units:
        ledger.post(
            ledger.Transfer(
                kind=SWEEP,
                source=ids.source(SWEEP, str(outflow.pk)),
                debit=ledger.house_account(kind="wallet_treasury", asset=seen.token.asset),
                credit=ledger.house_account(kind="wallet_deposit", asset=seen.token.asset),
                asset=seen.token.asset,
                amount=units,
                reference=seen.reference,
            )
        )
    return outflow


@transaction.atomic
def release(*, deposit: Deposit, token: Token, by: Actor = None, reason: str = "") -> Deposit:
    """
    Credit a deposit that waited for a decision.

    :raises Contradiction: it waits for none, or its sender is on the list of sanctions
    """
    address, found = _waiting(deposit)
    if found.doubt == Deposit.Doubt.LISTED:
        raise Contradiction(
            f"The sender of {found.public_id} is on the list of sanctions: it is never credited. "
            "Reject it, and do not send it back before counsel says so."
        )
    found.state = Deposit.State.ACCUMULATING
    found.save(update_fields=["state"])
    credit_open(address=address, token=token)
    _decided(found, "crypto.deposit_released", by, reason)
    found.refresh_from_db()
    return found


@transaction.atomic
def reject(*, deposit: Deposit, by: Actor = None, reason: str) -> Deposit:
    """
    Never credit a deposit that waited for a decision; it stays where it lies.

    :raises Contradiction: it waits for none
    """
    _address, found = _waiting(deposit)
    found.state = Deposit.State.REJECTED
    found.save(update_fields=["state"])
    _decided(found, "crypto.deposit_rejected", by, reason)
    return found


def _waiting(deposit: Deposit) -> tuple[DepositAddress, Deposit]:
    address = DepositAddress.objects.select_for_update(no_key=True).get(pk=deposit.address_id)
    found = Deposit.objects.get(pk=deposit.pk)
    if found.state != Deposit.State.SUSPENDED:
        raise Contradiction(f"{found.public_id} is {found.state}, it waits for no decision.")
    return address, found


def _decided(deposit: Deposit, action: str, by: Actor, reason: str) -> None:
    audit.record(
        action=action,
        by=by,
        target=audit.Target(deposit.public_id, deposit.asset),
        # For staff to read: who is on a list is not told to the customer.
        workspaces=[None],
        after={"doubt": deposit.doubt, "amount": str(deposit.amount), "reason": reason},
    )
    incidents.end(kind=Alert.Kind.CHAIN_TROUBLE, subject=f"deposit:{deposit.public_id}")
