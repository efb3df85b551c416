"""
Fees and payouts, from Stripe's own balance transactions, and each payment against the ledger.

Daily; it looks back a few days, because a fee can be told late, and books each once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from django.db import transaction

from billing import incidents, ledger, topups
from billing.ledger import Transfer
from billing.models import Alert
from billing.models import Transfer as TransferRow
from billing.models_funding import Claim, Refund, StripeEntry
from billing.stripe import booking
from billing.stripe.client import Body, connect, id_of, plain, refusals
from billing.topups import NANOS_PER_CENT
from common import ids

log = structlog.get_logger(__name__)

LOOKS_BACK: Final = timedelta(days=7)
HOUSE: Final = "clearing:stripe"
PAYMENTS: Final = ("charge", "payment")


def reconcile(*, now: datetime) -> list[str]:
    """Book fees and payouts of the last days; return the transactions that match nothing here."""
    since = int((now - LOOKS_BACK).timestamp())
    with refusals():
        found = connect().v1.balance_transactions.list(
            {"created": {"gte": since}, "limit": 100, "expand": ["data.source"]}
        )
        entries = [plain(each) for each in found.auto_paging_iter()]
    unmatched = [entry["id"] for entry in entries if not _book(entry)]
    for name in unmatched:
        incidents.begin(kind=Alert.Kind.PAYMENT_DRIFT, subject=name, facts={"of": "stripe"})
    drift = Alert.objects.filter(kind=Alert.Kind.PAYMENT_DRIFT, closed_at=None)
    matched = {entry["id"] for entry in entries} - set(unmatched)
    for alert in drift.filter(subject__in=matched):
        incidents.end(kind=Alert.Kind.PAYMENT_DRIFT, subject=alert.subject)
    return unmatched


def _book(entry: Body) -> bool:
    if entry["currency"] != "usd":
        return False
    if entry["type"] in PAYMENTS:
        _find_missed(entry)
    with transaction.atomic():
        if entry["fee"]:
            _post(entry, "stripe.fee", "stripe_fees", HOUSE, entry["fee"])
        if entry["type"] == "stripe_fee":
            _post(entry, "stripe.fee", "stripe_fees", HOUSE, -entry["amount"])
        if entry["type"].startswith("payout"):
            _post(entry, "stripe.payout", "bank", HOUSE, -entry["amount"])
        matched = _matches(entry)
        StripeEntry.objects.update_or_create(id=entry["id"], defaults=_facts(entry, matched))
    return matched


def _find_missed(entry: Body) -> None:
    """A payment of which no event ever came."""
    intent_id = _intent(entry)
    if intent_id and _booked(intent_id) is None:
        booking.book_intent(intent_id)


def _intent(entry: Body) -> str:
    source = entry.get("source")
    return id_of(source.get("payment_intent")) if isinstance(source, dict) else ""


def _booked(intent_id: str) -> int | None:
    """What the ledger has of a payment, with its tax, in nano-dollars; None where nothing."""
    rows = TransferRow.objects.filter(
        source=topups.source_of(intent_id), kind__in=("top_up", "top_up.tax", "suspense")
    )
    amounts = [int(row.amount) for row in rows]
    return sum(amounts) if amounts else None


def _matches(entry: Body) -> bool:
    source, kind = id_of(entry.get("source")), str(entry["type"])
    if kind in PAYMENTS:
        return bool(_booked(_intent(entry)) == entry["amount"] * NANOS_PER_CENT)
    if kind in ("refund", "payment_refund", "refund_failure", "payment_failure_refund"):
        return (
            Refund.objects.filter(external_id=source).exists()
            or Claim.objects.filter(external_id=source).exists()
        )
    if kind == "adjustment":
        dispute = entry.get("source")
        named = id_of(dispute.get("dispute") if isinstance(dispute, dict) else "") or source
        return Claim.objects.filter(external_id__in=(named, source)).exists()
    return kind == "stripe_fee" or kind.startswith("payout")


def _facts(entry: Body, matched: bool) -> dict[str, Any]:
    return {
        "kind": entry["type"],
        "amount_cents": entry["amount"],
        "fee_cents": entry["fee"],
        "currency": entry["currency"],
        "source_id": id_of(entry.get("source")),
        "at": datetime.fromtimestamp(entry["created"], UTC),
        "matched": matched,
    }


def _post(entry: Body, kind: str, debit: str, credit: str, cents: int) -> None:
    """Book a movement between the house's accounts; a negative one goes the other way."""
    if cents < 0:
        debit, credit = credit, debit
    if cents:
        ledger.post(
            Transfer(
                kind=kind,
                source=ids.source("stripe", entry["id"]),
                debit=ledger.house_account(kind=debit, asset=ledger.USD),
                credit=ledger.house_account(kind=credit, asset=ledger.USD),
                asset=ledger.USD,
                amount=abs(cents) * NANOS_PER_CENT,
                reference=id_of(entry.get("source")) or entry["id"],
            )
        )


def book_payout(payout_id: str) -> None:
    """A payout was made, or came back: its balance transactions say what moved."""
    with refusals():
        found = connect().v1.balance_transactions.list(
            {"source": payout_id, "limit": 100, "expand": ["data.source"]}
        )
        entries = [plain(each) for each in found.data]
    for entry in entries:
        _book(entry)
