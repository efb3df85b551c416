"""
Refunds: paid money on its way back to whoever paid it.

The credit is set aside when a refund is asked for, leaves when the processor says that it went,
and is free again when it failed, days later too.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from accounts import audit
from accounts.actors import Actor, person_id
from accounts.errors import Invalid
from accounts.templatetags.show import grouped
from billing import claims, ledger
from billing.ledger import Transfer
from billing.models_funding import Claim, Refund, TopUp
from billing.topups import NANOS_PER_CENT
from common import ids, money
from common.errors import NO_RETRY, ApiError

CLEARING: Final = "clearing:stripe"


def split(top_up: TopUp, cents: int) -> tuple[int, int]:
    """How much of a charged sum is credit and how much is tax, in nano-dollars, exactly."""
    whole = cents * NANOS_PER_CENT
    credit = whole * top_up.amount_cents // top_up.total_cents
    return credit, whole - credit


def refundable_cents(top_up: TopUp) -> int:
    """What of a payment did not go back yet, and is not on its way back."""
    gone = top_up.refunds.exclude(status=Refund.Status.FAILED).aggregate(sum=Sum("amount_cents"))
    taken = top_up.claims.exclude(status=Claim.Status.REVERSED).exclude(kind=Claim.Kind.WARNING)
    claimed = sum(each.amount_nanos + each.tax_nanos for each in taken)
    left = top_up.total_cents - (gone["sum"] or 0) - money.ceil_div(claimed, NANOS_PER_CENT)
    return max(0, left)


@transaction.atomic
def ask(*, top_up: TopUp, amount_cents: int, by: Actor, reason: str = "") -> Refund:
    """
    Set the credit of a refund aside; it is sent afterwards.

    :raises accounts.errors.Invalid: more than the payment, or a payment that is not paid
    :raises common.errors.ApiError: 402, the paid balance does not cover it any more
    """
    home = _home(top_up)
    top_up = TopUp.objects.get(pk=top_up.pk)
    if top_up.status != TopUp.Status.PAID:
        raise Invalid("Only what was paid can be refunded.", param="top_up")
    left = refundable_cents(top_up)
    if not 0 < amount_cents <= left:
        raise Invalid(
            f"Of this payment {grouped(money.usd(left * NANOS_PER_CENT))} USD can be refunded.",
            param="amount_usd",
        )
    before = top_up.total_cents - left
    credit = split(top_up, before + amount_cents)[0] - split(top_up, before)[0]
    refund = Refund.objects.create(
        top_up=top_up,
        amount_cents=amount_cents,
        credit_nanos=credit,
        reason=reason,
        created_by_id=person_id(by),
    )
    _reserve(refund, home)
    record(refund, action="refund.asked", by=by)
    return refund


def record(refund: Refund, *, action: str, by: Actor) -> None:
    """Write in the audit log what happened to a refund."""
    audit.record(
        action=action,
        by=by,
        target=audit.Target(refund.public_id, refund.top_up.public_id),
        workspaces=[refund.top_up.workspace_id],
        after={"amount_usd": money.usd(refund.amount_cents * NANOS_PER_CENT)},
    )


@transaction.atomic
def succeed(*, refund: Refund) -> bool:
    """Book that a refund went; once."""
    home = _home(refund.top_up)
    refund = Refund.objects.select_related("top_up").get(pk=refund.pk)
    if refund.status != Refund.Status.PENDING:
        return False
    ledger.release(source=_source(refund))
    _move(refund, "refund", debit=home, credit=_clearing())
    _move_tax(refund, "refund.tax", debit=_tax(), credit=_clearing())
    Refund.objects.filter(pk=refund.pk).update(status=Refund.Status.SUCCEEDED)
    return True


@transaction.atomic
def fail(*, refund: Refund, why: str) -> bool:
    """Free what was set aside, or bring back what had gone; once."""
    home = _home(refund.top_up)
    refund = Refund.objects.select_related("top_up").get(pk=refund.pk)
    if refund.status == Refund.Status.FAILED:
        return False
    if refund.status == Refund.Status.SUCCEEDED:
        _move(refund, "refund.failed", debit=_clearing(), credit=home)
        _move_tax(refund, "refund.tax_failed", debit=_clearing(), credit=_tax())
    else:
        ledger.release(source=_source(refund))
    Refund.objects.filter(pk=refund.pk).update(status=Refund.Status.FAILED, failure=why[:64])
    claims.repay(workspace_id=refund.top_up.workspace_id)
    return True


def _reserve(refund: Refund, home: int) -> None:
    if refund.credit_nanos == 0:
        return
    try:
        with transaction.atomic():
            ledger.reserve(source=_source(refund), home=home, amount=refund.credit_nanos)
    except ledger.InsufficientFunds:
        raise ApiError(
            "insufficient_balance",
            "The paid balance that nothing holds does not cover the refund: it is spent.",
            headers=NO_RETRY,
            asset=ledger.USD,
        ) from None


def _move(refund: Refund, kind: str, *, debit: int, credit: int) -> None:
    _post(refund, kind, debit=debit, credit=credit, amount=refund.credit_nanos)


def _move_tax(refund: Refund, kind: str, *, debit: int, credit: int) -> None:
    tax = refund.amount_cents * NANOS_PER_CENT - refund.credit_nanos
    _post(refund, kind, debit=debit, credit=credit, amount=tax)


def _post(refund: Refund, kind: str, *, debit: int, credit: int, amount: int) -> None:
    if amount:
        ledger.post(
            Transfer(
                kind=kind,
                source=_source(refund),
                debit=debit,
                credit=credit,
                asset=ledger.USD,
                amount=amount,
                reference=refund.external_id or refund.public_id,
                reason=refund.reason,
            )
        )


def _source(refund: Refund) -> UUID:
    return ids.source("refund", refund.public_id)


def _clearing() -> int:
    return ledger.house_account(kind=CLEARING, asset=ledger.USD)


def _tax() -> int:
    return ledger.house_account(kind="tax_payable", asset=ledger.USD)


def _home(top_up: TopUp) -> int:
    return ledger.lock_homes(workspace_id=top_up.workspace_id, assets=(ledger.USD,))[0].pk
