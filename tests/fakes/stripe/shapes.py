"""What Stripe's objects have besides what the fake is about, each anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fakes.stripe import description
from tests.fakes.stripe.form import Body

NOBODY: Body = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}
ADDRESS: Body = {
    "line1": "Torstraße 1",
    "line2": None,
    "city": "Berlin",
    "postal_code": "10119",
    "state": None,
    "country": "DE",
}


def whole(kind: str, facts: Body, *, now: int, livemode: bool) -> Body:
    """An object with all its fields, those of its kind unless they are given."""
    known = description.fields(description.kind_of({"object": kind}))
    common = {"object": kind, "created": now, "livemode": livemode, "metadata": {}}
    shape = SHAPES[kind](now) if kind in SHAPES else {}
    made: Body = {name: common[name] for name in common if name in known} | shape | facts
    return made


def _session(now: int) -> Body:
    return {
        "automatic_tax": {"enabled": False},
        "custom_fields": [],
        "custom_text": {},
        "expires_at": now + 86400,
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "shipping_options": [],
        "status": "open",
        "payment_intent": None,
        "setup_intent": None,
        "invoice": None,
    }


def _intent(now: int) -> Body:
    return {
        "amount_capturable": 0,
        "amount_received": 0,
        "capture_method": "automatic_async",
        "confirmation_method": "automatic",
        "payment_method": None,
        "payment_method_types": ["card"],
        "latest_charge": None,
        "last_payment_error": None,
        "status": "requires_payment_method",
    }


def _charge(now: int) -> Body:
    return {
        "amount_refunded": 0,
        "billing_details": dict(NOBODY),
        "captured": True,
        "disputed": False,
        "paid": True,
        "refunded": False,
        "status": "succeeded",
    }


def _dispute(now: int) -> Body:
    return {
        "balance_transactions": [],
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": now + 86400 * 7,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": False,
        "reason": "fraudulent",
    }


def _payout(now: int) -> Body:
    return {
        "arrival_date": now,
        "automatic": True,
        "method": "standard",
        "reconciliation_status": "completed",
        "source_type": "card",
        "type": "bank_account",
    }


def _entry(now: int) -> Body:
    return {
        "available_on": now,
        "balance_type": "payments",
        "fee_details": [],
        "reporting_category": "other",
        "status": "available",
    }


def _invoice(now: int) -> Body:
    zeros = ("amount_due", "amount_overpaid", "amount_remaining", "amount_shipping")
    notes = ("post_payment_credit_notes_amount", "pre_payment_credit_notes_amount")
    return dict.fromkeys((*zeros, *notes, "starting_balance"), 0) | {
        "attempt_count": 0,
        "attempted": True,
        "automatic_tax": {"enabled": False},
        "collection_method": "charge_automatically",
        "currency": "usd",
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self"},
        "lines": {"object": "list", "data": [], "has_more": False, "url": "/v1/invoices"},
        "payment_settings": {},
        "period_end": now,
        "period_start": now,
        "status_transitions": {"paid_at": now},
        "hosted_invoice_url": "https://invoice.stripe.com/i/fake",
    }


def _tax(now: int) -> Body:
    return {"customer_details": {"taxability_override": "none", "tax_ids": []}, "tax_date": now}


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "customer": lambda now: {"address": None},
    "checkout.session": _session,
    "billing_portal.session": lambda now: {"configuration": "bpc_fake"},
    "payment_intent": _intent,
    "payment_method": lambda now: {"billing_details": dict(NOBODY)},
    "setup_intent": lambda now: {"payment_method_types": ["card"], "usage": "off_session"},
    "charge": _charge,
    "dispute": _dispute,
    "payout": _payout,
    "balance_transaction": _entry,
    "invoice": _invoice,
    "tax.calculation": lambda now: (
        _tax(now) | {"tax_amount_inclusive": 0, "tax_breakdown": [], "expires_at": now + 86400 * 90}
    ),
    "tax.transaction": lambda now: _tax(now) | {"posted_at": now, "type": "transaction"},
}
