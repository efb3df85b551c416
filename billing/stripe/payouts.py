"""
Fees and payouts, from Stripe's own balance transactions, and each payment against the ledger.

Daily; it looks back a few days, because a fee can be told late, and books each once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from django.db import transaction
from django.db.models import Max, Sum

from billing import incidents, ledger, topups
from billing.ledger import Transfer
from billing.models import Alert
from billing.models import Transfer as TransferRow
from billing.models_funding import Claim, Refund, StripeEntry
from billing.stripe import booking, returns
from billing.stripe.client import Body, connect, id_of, plain, refusals
from billing.topups import NANOS_PER_CENT
from common import ids

log = structlog.get_logger(__name__)

LOOKS_BACK: Final = timedelta(days=7)
HOUSE: Final = "clearing:stripe"
PAYMENTS: Final = ("charge", "payment")
# Money that went to the bank or came back from there; other kinds only set some aside.
PAYOUTS: Final = ("payout", "payout_cancel", "payout_failure")
RETURNS: Final = (
    "refund",
    "payment_refund",
    "refund_failure",
    "payment_failure_refund",
    "adjustment",
)


def reconcile(*, now: datetime) -> list[str]:
    """Book fees and payouts of the last days; return the transactions that match nothing here."""
    since = int((_last_looked(now) - LOOKS_BACK).timestamp())
    with refusals():
        found = connect().v1.balance_transactions.list(
            {"created": {"gte": since}, "limit": 100, "expand": ["data.source"]}
        )
        entries = [plain(each) for each in found.auto_paging_iter()]
    for entry in entries:
        _book(entry)
    # Then: a failed refund, say, is told of by two of them.
    unmatched = [entry["id"] for entry in entries if not _match(entry)]
    for name in unmatched:
        incidents.begin(kind=Alert.Kind.PAYMENT_DRIFT, subject=name, facts={"of": "stripe"})
    drift = Alert.objects.filter(kind=Alert.Kind.PAYMENT_DRIFT, closed_at=None)
    matched = {entry["id"] for entry in entries} - set(unmatched)
    for alert in drift.filter(subject__in=matched):
        incidents.end(kind=Alert.Kind.PAYMENT_DRIFT, subject=alert.subject)
    return unmatched


def _last_looked(now: datetime) -> datetime:
    """When this was done last: what came while nobody did it is looked at as well."""
    # Payouts are written down when they are told of.
    seen = StripeEntry.objects.exclude(kind__in=PAYOUTS).aggregate(at=Max("at"))
    return min(now, seen["at"] or now)


def _book(entry: Body) -> None:
    if entry["currency"] != "usd":
        return
    with transaction.atomic():
        if entry["fee"]:
            _post(entry, "stripe.fee", "stripe_fees", HOUSE, entry["fee"])
        if entry["type"] == "stripe_fee":
            _post(entry, "stripe.fee", "stripe_fees", HOUSE, -entry["amount"])
        if entry["type"] in PAYOUTS:
            _post(entry, "stripe.payout", "bank", HOUSE, -entry["amount"])
        StripeEntry.objects.update_or_create(id=entry["id"], defaults=_facts(entry))


def _match(entry: Body) -> bool:
    if entry["currency"] != "usd":
        return False
    matched = _matches(entry)
    if not matched:
        _find_missed(entry)
        matched = _matches(entry)
    StripeEntry.objects.filter(id=entry["id"]).update(matched=matched)
    return matched


def _find_missed(entry: Body) -> None:
    """Book a payment, a refund or a dispute of which no event ever came."""
    source = entry.get("source")
    if not isinstance(source, dict):
        return
    try:
        match source["object"]:
            case "charge" if intent_id := _intent(entry):
                booking.book_intent(intent_id)
            case "refund":
                returns.book_refund(source["id"])
            case "dispute":
                returns.book_dispute(source["id"])
    except Exception as error:
        # One that cannot be booked is told of, and keeps no other from being compared.
        log.warning("It could not be booked", entry=entry["id"], why=str(error)[:200])


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
    if kind in RETURNS:
        # What went and what came back of it, together: a refund may fail, a dispute be won.
        moved = StripeEntry.objects.filter(source_id=source, kind__in=RETURNS)
        cents = moved.aggregate(sum=Sum("amount_cents"))["sum"] or 0
        return bool(_gone(source) == -cents * NANOS_PER_CENT)
    return kind == "stripe_fee" or kind in PAYOUTS


def _gone(source: str) -> int | None:
    """What is booked as gone by a refund or a dispute, with its tax; None where nothing is."""
    refund = Refund.objects.filter(external_id=source).first()
    if refund is not None:
        failed = refund.status == Refund.Status.FAILED
        return 0 if failed else refund.amount_cents * NANOS_PER_CENT
    claim = Claim.objects.filter(external_id=source).first()
    if claim is None:
        return None
    given_back = claim.status == Claim.Status.REVERSED
    return 0 if given_back else claim.amount_nanos + claim.tax_nanos


def _facts(entry: Body) -> dict[str, Any]:
    return {
        "kind": entry["type"],
        "amount_cents": entry["amount"],
        "fee_cents": entry["fee"],
        "currency": entry["currency"],
        "source_id": id_of(entry.get("source")),
        "at": datetime.fromtimestamp(entry["created"], UTC),
        "matched": False,
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
        _match(entry)
