"""
What became of a payment, asked of Stripe and booked once, by the id of its payment intent.

Events, the page after a payment and polling all end here. What is asked is the object as it is
now, so the order of events does not matter; what does not agree with what we asked for is kept
in suspense, never credited and never dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from billing import autotopups, ledger, packages, topups, velocity
from billing.models import Transfer
from billing.models_funding import StripeCustomer, TopUp
from billing.stripe import customers
from billing.stripe.client import Body, connect, id_of, is_live, plain, refusals
from billing.topups import NANOS_PER_CENT, Income
from common import ids

log = structlog.get_logger(__name__)

HOUSE: Final = "clearing:stripe"
KIND: Final = "top_up"
FINISHED: Final = ("succeeded",)
INTENT_PARTS: Final = ["latest_charge", "payment_method"]
SESSION_PARTS: Final = [
    "payment_intent.latest_charge",
    "payment_intent.payment_method",
    "invoice",
]


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment as Stripe tells it."""

    intent: Body
    tax_cents: int = 0
    subtotal_cents: int | None = None
    invoice_url: str = ""

    @property
    def charge(self) -> Body:
        """Its successful charge."""
        found = self.intent.get("latest_charge")
        return found if isinstance(found, dict) else {}


def book_session(session_id: str) -> TopUp | None:
    """Book what a page of Stripe came to."""
    with refusals():
        found = plain(
            connect().v1.checkout.sessions.retrieve(session_id, {"expand": SESSION_PARTS})
        )
    if found.get("mode") == "setup":
        _book_setup(found)
        return None
    top_up = _find(found.get("metadata"))
    if top_up is None:
        if intent_id := id_of(found.get("payment_intent")):
            book_intent(intent_id)
        return None
    _apply(top_up, found)
    return TopUp.objects.get(pk=top_up.pk)


def _apply(top_up: TopUp, session: Body) -> None:
    intent = session.get("payment_intent")
    if session.get("payment_status") == "paid" and isinstance(intent, dict):
        totals = session.get("total_details") or {}
        invoice = session.get("invoice")
        url = invoice.get("hosted_invoice_url") if isinstance(invoice, dict) else ""
        paid = Paid(intent, totals.get("amount_tax") or 0, session["amount_subtotal"], url or "")
        book_paid(top_up, paid)
    elif session.get("status") == "expired":
        _close(top_up, TopUp.Status.EXPIRED, "expired")
    elif session.get("status") == "complete" and isinstance(intent, dict):
        # A method that takes days: it is paid later, or it failed now.
        if intent.get("status") in ("requires_payment_method", "canceled"):
            _close(top_up, TopUp.Status.FAILED, _failure(intent))


def _close(top_up: TopUp, status: TopUp.Status, failure: str) -> None:
    open_ones = TopUp.objects.filter(pk=top_up.pk, status=TopUp.Status.PENDING)
    open_ones.update(status=status, failure=failure[:64])


def _failure(intent: Body) -> str:
    error = intent.get("last_payment_error") or {}
    return str(error.get("decline_code") or error.get("code") or intent.get("status") or "failed")


def _book_setup(session: Body) -> None:
    if intent_id := id_of(session.get("setup_intent")):
        book_setup(intent_id)


def book_setup(intent_id: str) -> None:
    """Keep a card that was saved without a payment."""
    with refusals():
        found = plain(connect().v1.setup_intents.retrieve(intent_id))
    if found.get("status") == "succeeded" and (method := id_of(found.get("payment_method"))):
        customers.sync_card(method_id=method)


def book_intent(intent_id: str) -> TopUp | None:
    """Book a payment intent; where a page made it, the page says how much of it is tax."""
    with refusals():
        intent = plain(connect().v1.payment_intents.retrieve(intent_id, {"expand": INTENT_PARTS}))
    top_up = _find(intent.get("metadata"))
    if top_up is not None and top_up.method == TopUp.Method.CHECKOUT:
        # Of a second payment the page is another one than that which is written down.
        known = top_up.session_id if top_up.intent_id in (None, intent_id) else None
        session_id = known or _session_of(intent_id)
        if session_id:
            return book_session(session_id)
    if intent.get("status") in FINISHED:
        if top_up is None:
            _suspend(intent, "a payment that nobody here asked for")
        else:
            book_paid(top_up, Paid(intent, top_up.tax_cents))
    elif top_up is not None and top_up.method != TopUp.Method.CHECKOUT:
        if intent.get("status") in ("requires_payment_method", "requires_action", "canceled"):
            autotopups.declined(top_up=top_up, why=_failure(intent))
    return top_up


def _session_of(intent_id: str) -> str:
    with refusals():
        found = connect().v1.checkout.sessions.list({"payment_intent": intent_id, "limit": 1})
    return found.data[0].id if found.data else ""


def _find(marks: Body | None) -> TopUp | None:
    name = (marks or {}).get("top_up")
    rows = TopUp.objects.select_related("workspace__tier", "card")
    return rows.filter(public_id=name).first() if name else None


def book_paid(top_up: TopUp, paid: Paid) -> bool:
    """Credit a payment, once; or keep it in suspense where it is not what was asked for."""
    wrong = _differences(top_up, paid)
    if wrong:
        _suspend(paid.intent, f"{top_up.public_id}: " + "; ".join(wrong))
        _close(top_up, TopUp.Status.FAILED, "mismatch")
        return False
    new = _credit(top_up, paid)
    if new:
        log.info("Top-up paid", top_up=top_up.public_id, intent=paid.intent["id"])
    if top_up.save_card and (method := id_of(paid.intent.get("payment_method"))):
        customers.sync_card(method_id=method)
    return new


def _differences(top_up: TopUp, paid: Paid) -> list[str]:
    intent, wrong = paid.intent, []
    if intent.get("currency") != "usd":
        wrong.append(f"currency {intent.get('currency')}")
    if intent.get("amount_received") != top_up.amount_cents + paid.tax_cents:
        wrong.append(f"amount {intent.get('amount_received')}")
    if paid.subtotal_cents not in (None, top_up.amount_cents):
        wrong.append(f"subtotal {paid.subtotal_cents}")
    if paid.tax_cents and settings.TAX_AT != "topup" and paid.tax_cents != top_up.tax_cents:
        wrong.append(f"tax {paid.tax_cents}")
    if bool(intent.get("livemode")) != is_live():
        wrong.append("mode")
    marks = intent.get("metadata") or {}
    if marks.get("workspace") != top_up.workspace.public_id or not _is_owner(top_up, intent):
        wrong.append("owner")
    if top_up.intent_id not in (None, intent["id"]):
        wrong.append("a second payment")
    if top_up.workspace.closed_at is not None and top_up.status != TopUp.Status.PAID:
        # Nobody could spend it, and nobody would see it.
        wrong.append("a closed workspace")
    return wrong


def _is_owner(top_up: TopUp, intent: Body) -> bool:
    # A customer that was deleted at Stripe meanwhile belongs to nobody else.
    known = StripeCustomer.objects.filter(customer_id=id_of(intent.get("customer"))).first()
    return known is None or known.workspace_id == top_up.workspace_id


@transaction.atomic
def _credit(top_up: TopUp, paid: Paid) -> bool:
    source = topups.source_of(paid.intent["id"])
    ledger.lock_homes(workspace_id=top_up.workspace_id)
    if Transfer.objects.filter(kind="suspense", source=source).exists():
        return False
    now = TopUp.objects.select_for_update().get(pk=top_up.pk)
    if now.status == TopUp.Status.PAID:
        if now.intent_id != paid.intent["id"]:
            # Both were seen before either was booked.
            _suspend(paid.intent, f"{now.public_id}: a second payment")
        return False
    new = topups.credit_once(
        Income(
            workspace_id=top_up.workspace_id,
            kind=KIND,
            source=source,
            house=HOUSE,
            amount=top_up.amount_cents * NANOS_PER_CENT,
            tax=paid.tax_cents * NANOS_PER_CENT,
            reference=paid.intent["id"],
            reason="Card",
        )
    )
    _note(now, paid)
    velocity.watch(top_up=now)
    topups.record(now, action="top_up.paid", by=None)
    autotopups.succeeded(workspace_id=top_up.workspace_id)
    _buy(top_up, source)
    return new


def _note(top_up: TopUp, paid: Paid) -> None:
    card = ((paid.charge.get("payment_method_details") or {}).get("card")) or {}
    top_up.status = TopUp.Status.PAID
    top_up.paid_at = timezone.now()
    top_up.intent_id = paid.intent["id"]
    top_up.tax_cents = paid.tax_cents
    top_up.failure = ""
    top_up.receipt_url = paid.charge.get("receipt_url") or ""
    top_up.invoice_url = paid.invoice_url
    top_up.fingerprint = card.get("fingerprint") or ""
    top_up.save()


def _buy(top_up: TopUp, paid_by: UUID) -> None:
    """Buy the package that the money is for, and with no other; else the money stays credit."""
    if not top_up.package:
        return
    try:
        with transaction.atomic():
            packages.buy(
                workspace=top_up.workspace,
                slug=top_up.package,
                source=ids.source("package", str(paid_by)),
                most_nanos=top_up.amount_cents * NANOS_PER_CENT,
            )
    except (packages.NotForSale, packages.PriceChanged, ledger.LedgerError) as refusal:
        log.warning(
            "A package was paid and not bought; its price is credit",
            top_up=top_up.public_id,
            why=type(refusal).__name__,
        )


def _suspend(intent: Body, why: str) -> None:
    source = topups.source_of(intent["id"])
    received = intent.get("amount_received") or 0
    if not received or Transfer.objects.filter(kind=KIND, source=source).exists():
        return
    is_usd = intent["currency"] == "usd"
    topups.suspend(
        source=source,
        house=HOUSE,
        # Other currencies stay in their own smallest unit, as Stripe counts them.
        asset=ledger.USD if is_usd else str(intent["currency"]).upper(),
        amount=received * (NANOS_PER_CENT if is_usd else 1),
        reference=intent["id"],
        why=why,
    )
