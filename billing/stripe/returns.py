"""Money that goes back: refunds of ours, refunds made at Stripe, disputes, fraud warnings."""

from __future__ import annotations

from typing import Any, Final

import structlog
from django.utils import timezone

from billing import claims, incidents, refunds
from billing.models import Alert
from billing.models_funding import Claim, Refund, TopUp
from billing.stripe.client import (
    KEY_LASTS,
    Body,
    Refused,
    StripeError,
    connect,
    id_of,
    plain,
    refusals,
)

log = structlog.get_logger(__name__)

FAILED: Final = ("failed", "canceled")
# Stripe asks questions first: no money has moved.
INQUIRIES: Final = ("warning_needs_response", "warning_under_review", "warning_closed", "prevented")


class NotYet(StripeError):
    """The payment that it belongs to is not booked yet: it is looked at again later."""


def send(*, refund: Refund) -> None:
    """
    Send a refund, or ask what became of it; sent again it is the same refund.

    :raises billing.stripe.client.StripeError: what became of it is not known yet
    """
    refund = Refund.objects.select_related("top_up").get(pk=refund.pk)
    if refund.status != Refund.Status.PENDING:
        return
    if refund.external_id:
        book_refund(refund.external_id)
        return
    try:
        refund_id = _sent_before(refund) or _create(refund)
    except Refused as refusal:
        if refusal.code == "key":
            # It says nothing of the refund, which an earlier call may have made.
            raise
        refunds.fail(refund=refund, why=refusal.code or "refused")
        return
    Refund.objects.filter(pk=refund.pk).update(external_id=refund_id)
    book_refund(refund_id)


def _create(refund: Refund) -> str:
    with refusals():
        made = connect().v1.refunds.create(
            {
                "payment_intent": refund.top_up.intent_id or "",
                "amount": refund.amount_cents,
                "metadata": {"refund": refund.public_id},
            },
            {"idempotency_key": refund.public_id},
        )
    return made.id


def _sent_before(refund: Refund) -> str:
    """Find a refund whose key may be forgotten; sending it again could pay twice."""
    if timezone.now() - refund.created_at <= KEY_LASTS:
        return ""
    with refusals():
        wanted = {"payment_intent": refund.top_up.intent_id or "", "limit": 100}
        found = plain(connect().v1.refunds.list(wanted))  # type: ignore[arg-type]  # a plain dict
    marked = [
        each
        for each in found["data"]
        if _mark(each) == refund.public_id and not _differences(refund, each)
    ]
    return id_of(marked[0]) if marked else ""


def _mark(found: Body) -> str:
    return str((found.get("metadata") or {}).get("refund") or "none")


def book_refund(refund_id: str) -> None:
    """Book what became of a refund, whoever made it."""
    with refusals():
        found = plain(connect().v1.refunds.retrieve(refund_id))
    ours = Refund.objects.select_related("top_up").filter(public_id=_mark(found))
    refund = ours.first()
    if refund is None:
        _book_foreign(found)
        return
    if wrong := _differences(refund, found):
        # Anybody at Stripe's dashboard can write our mark on another refund.
        why = f"{refund.public_id}: " + "; ".join(wrong)
        facts = {"why": why[:200], "kind": "refund", "object": refund_id}
        incidents.begin(kind=Alert.Kind.PAYMENT_UNMATCHED, subject=refund_id, facts=facts)
        _book_foreign(found)
        return
    Refund.objects.filter(pk=refund.pk, external_id=None).update(external_id=refund_id)
    if found["status"] in FAILED:
        refunds.fail(refund=refund, why=found.get("failure_reason") or found["status"])
    elif found["status"] == "succeeded":
        refunds.succeed(refund=refund)


def _differences(refund: Refund, found: Body) -> list[str]:
    """What of a refund that has our mark is not what we asked for."""
    wrong = []
    if id_of(found.get("payment_intent")) != refund.top_up.intent_id:
        wrong.append(f"payment {id_of(found.get('payment_intent'))}")
    if found["amount"] != refund.amount_cents:
        wrong.append(f"amount {found['amount']}")
    if found["currency"] != "usd":
        wrong.append(f"currency {found['currency']}")
    if refund.external_id not in (None, found["id"]):
        wrong.append("a second refund")
    return wrong


def _book_foreign(found: Body) -> None:
    """A refund that somebody made at Stripe: the money is gone, spent or not."""
    if found["status"] in FAILED:
        claims.reverse(external_id=found["id"])
        return
    if Claim.objects.filter(external_id=found["id"]).exists():
        return
    _take(Claim.Kind.REFUND, found["id"], _paid(found), found["amount"])


def book_refunds_of(charge_id: str) -> None:
    """Book all refunds of a charge."""
    with refusals():
        found = plain(connect().v1.refunds.list({"charge": charge_id, "limit": 100}))
    for each in found["data"]:
        book_refund(each["id"])


def book_dispute(dispute_id: str) -> None:
    """Take a disputed payment back and freeze its workspace; or undo that where it was won."""
    with refusals():
        found = plain(connect().v1.disputes.retrieve(dispute_id))
    status = found["status"]
    if status in INQUIRIES:
        # One that became a dispute and was taken back is over; else nothing was taken.
        if status != "warning_needs_response":
            claims.reverse(external_id=dispute_id)
        return
    if status == "won":
        claims.reverse(external_id=dispute_id)
        return
    if not Claim.objects.filter(external_id=dispute_id).exists():
        _take(Claim.Kind.DISPUTE, dispute_id, _paid(found), found["amount"])
    if status == "lost":
        claims.lose(external_id=dispute_id)


def book_warning(warning_id: str) -> None:
    """Keep what a bank thinks is fraud ready for the dispute, and freeze the workspace."""
    with refusals():
        found = plain(connect().v1.radar.early_fraud_warnings.retrieve(warning_id))
    top_up = _paid(found)
    if not found.get("actionable") or Claim.objects.filter(external_id=warning_id).exists():
        return
    if left := refunds.refundable_cents(top_up):
        _take(Claim.Kind.WARNING, warning_id, top_up, left)


def _take(kind: Claim.Kind, external_id: str, top_up: TopUp, cents: int) -> None:
    credit, tax = refunds.split(top_up, cents)
    claim = claims.take(
        kind=kind, external_id=external_id, top_up=top_up, amount_nanos=credit, tax_nanos=tax
    )
    facts: dict[str, Any] = {
        "kind": kind,
        "top_up": top_up.public_id,
        "workspace": top_up.workspace.public_id,
        "owed_nanos": str(claim.owed - claim.repaid),
        "at": timezone.now().isoformat(),
    }
    incidents.begin(kind=Alert.Kind.PAYMENT_DISPUTED, subject=external_id, facts=facts)


def _paid(found: Body) -> TopUp:
    rows = TopUp.objects.select_related("workspace").filter(status=TopUp.Status.PAID)
    intent_id = id_of(found.get("payment_intent"))
    top_up = rows.filter(intent_id=intent_id).first() if intent_id else None
    if top_up is None:
        raise NotYet(f"no payment {intent_id} is booked")
    return top_up
