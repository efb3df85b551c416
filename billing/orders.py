"""
Money that staff move: at once when it is little, with a second person's approval when it is more.

The worth of an order is counted in US dollars, whatever its asset and its direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts import approvals
from accounts.actors import Staff
from accounts.approvals import Execute, Order, Outcome, Submitted
from accounts.errors import Conflict, Invalid
from accounts.models import Workspace
from accounts.workspaces import whom
from billing import corrections, grants, ledger, queue, refunds
from billing.models import Refund, TopUp
from billing.topups import NANOS_PER_CENT
from common import money

GRANT: Final = "grant"
CORRECTION: Final = "correction"
REFUND: Final = "refund"


def register() -> None:
    """Tell approvals how money is moved."""
    approvals.register(kind=GRANT, execute=_grant)
    approvals.register(kind=CORRECTION, execute=_correct)
    approvals.register(kind=REFUND, execute=_refund)


def grant(
    *,
    workspace: Workspace,
    asset: str,
    amount: int,
    reason: str,
    by: Staff,
    source: UUID,
    expires_at: datetime | None = None,
    paid: bool = False,
) -> Submitted:
    """
    Give a workspace money, or ask for approval; once per source.

    :raises accounts.errors.Refused: not a positive amount, paid money with an expiry, or no
        second factor
    """
    if amount <= 0 or asset not in ledger.ASSETS or (paid and expires_at is not None):
        raise Invalid("Grant more than nothing, of USD or TOK; paid money does not expire.")
    until = expires_at.isoformat() if expires_at else None
    given = f"{'Paid in' if paid else 'Grant'} {words(asset, amount)} to {whom(workspace)}"
    return approvals.submit(
        kind=GRANT,
        payload={"asset": asset, "units": amount, "expires_at": until, "paid": paid},
        summary=f"{given}, until {expires_at:%Y-%m-%d %H:%M} UTC" if expires_at else given,
        reason=reason,
        by=by,
        workspace=workspace,
        amount_nanos=worth(asset, amount),
        source=source,
    )


def correct(
    *, workspace: Workspace, asset: str, amount: int, reason: str, by: Staff, source: UUID
) -> Submitted:
    """
    Add to paid money or take from it, or ask for approval; once per source.

    :raises accounts.errors.Refused: nothing to correct, less than is to be taken, or no second
        factor
    """
    if amount == 0 or asset not in ledger.ASSETS:
        raise Invalid("A correction has an amount, of USD or TOK.")
    return approvals.submit(
        kind=CORRECTION,
        payload={"asset": asset, "units": amount},
        summary=f"Correct {whom(workspace)} by {words(asset, amount)}",
        reason=reason,
        by=by,
        workspace=workspace,
        amount_nanos=worth(asset, amount),
        source=source,
    )


def refund(*, top_up: TopUp, amount_cents: int, reason: str, by: Staff, source: UUID) -> Submitted:
    """
    Pay back a payment or a part of it, or ask for approval; once per source.

    :raises accounts.errors.Refused: more than can be refunded, or no second factor
    :raises common.errors.ApiError: 402, the paid balance does not cover it
    """
    if not 0 < amount_cents <= refunds.refundable_cents(top_up):
        raise Invalid("That is more than can be refunded of this payment.", param="amount_usd")
    nanos = amount_cents * NANOS_PER_CENT
    return approvals.submit(
        kind=REFUND,
        payload={"top_up": top_up.public_id, "amount_cents": amount_cents},
        summary=f"Refund {money.usd(nanos)} USD of {top_up.public_id} to {whom(top_up.workspace)}",
        reason=reason,
        by=by,
        workspace=top_up.workspace,
        amount_nanos=nanos,
        source=source,
    )


def worth(asset: str, units: int) -> int:
    """What an amount is worth in nano-dollars, in either direction."""
    return abs(units) if asset == ledger.USD else abs(units) * int(settings.TOKEN_VALUE_NANOS)


def words(asset: str, units: int) -> str:
    """An amount in words."""
    return f"{money.usd(units)} USD" if asset == ledger.USD else f"{units} tokens"


def _in_words(execute: Execute) -> Execute:
    """Have the ledger's refusals told like all others: what was asked stays pending."""

    @wraps(execute)
    def run(order: Order) -> Outcome | None:
        try:
            return execute(order)
        except ledger.LedgerError as error:
            raise Invalid(str(error)) from None

    return run


@_in_words
def _grant(order: Order) -> Mapping[str, Any]:
    asked = order.payload
    expires_at = parse_datetime(asked["expires_at"]) if asked["expires_at"] else None
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid("What is granted would have expired already: refuse it.")
    new = grants.give(
        workspace=_workspace(order),
        asset=asked["asset"],
        amount=asked["units"],
        reason=order.reason,
        expires_at=expires_at,
        paid=asked["paid"],
        by=order.by,
        source=order.source,
    )
    return {"new": new}


@_in_words
def _correct(order: Order) -> Mapping[str, Any]:
    new = corrections.correct(
        workspace=_workspace(order),
        asset=order.payload["asset"],
        amount=order.payload["units"],
        reason=order.reason,
        by=order.by,
        source=order.source,
    )
    return {"new": new}


@_in_words
def _refund(order: Order) -> Mapping[str, Any]:
    top_up = TopUp.objects.select_related("workspace").get(public_id=order.payload["top_up"])
    made: Refund = refunds.ask(
        top_up=top_up,
        amount_cents=order.payload["amount_cents"],
        by=order.by,
        reason=order.reason,
    )
    queue.after_commit("send_refund", made.pk)
    return {"refund": made.public_id}


def _workspace(order: Order) -> Workspace:
    if order.workspace is None or order.workspace.closed_at is not None:
        raise Conflict
    return order.workspace
