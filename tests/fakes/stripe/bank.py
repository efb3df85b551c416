"""What the fake knows: objects, money that moved, and what each card does."""

from __future__ import annotations

import hashlib
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.stripe.form import Body, is_true
from tests.fakes.stripe.shapes import ADDRESS, whole

# Stripe's own test numbers, by their last digits.
DECLINES = {"0341": "card_declined", "9995": "insufficient_funds"}
AUTHENTICATES = "3184"
DISPUTES = "0259"
WARNS = "5423"


class Failure(Exception):
    """An error as Stripe answers it."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message} | more


def public(found: Any) -> Any:
    """A copy without what only the fake knows: names that begin with an underscore."""
    if isinstance(found, dict):
        return {name: public(each) for name, each in found.items() if not name.startswith("_")}
    return [public(each) for each in found] if isinstance(found, list) else found


@dataclass(slots=True)
class Bank:
    """All objects by their ids."""

    livemode: bool = False
    tax_percent: int = 0
    objects: dict[str, Body] = field(default_factory=dict)
    news: list[Body] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def make(self, prefix: str, kind: str, **facts: Any) -> Body:
        """Make an object."""
        number = next(self.numbers)
        name = f"{prefix}_{number:06d}{hashlib.sha256(str(number).encode()).hexdigest()[:10]}"
        facts = {"id": name} | facts
        made = whole(kind, facts, now=int(time.time()), livemode=self.livemode)
        self.objects[made["id"]] = made
        return made

    def get(self, name: str, kind: str) -> Body:
        """Find an object of a kind."""
        found = self.objects.get(name)
        if found is None or found["object"] != kind:
            raise Failure(404, "resource_missing", f"No such {kind}: '{name}'")
        return found

    def all(self, kind: str) -> list[Body]:
        """Every object of a kind, the newest first."""
        return [each for each in reversed(self.objects.values()) if each["object"] == kind]

    def tell(self, kind: str, subject: Body) -> Body:
        """Make an event."""
        event = self.make(
            "evt",
            "event",
            type=kind,
            api_version="2026-10-28.endive",
            data={"object": public(subject)},
            pending_webhooks=1,
            request=None,
            _delivered=False,
        )
        self.news.append(event)
        return event

    def expand(self, found: Body, paths: list[str]) -> Body:
        """Put whole objects where their ids are."""
        shown = dict(found)
        for path in paths:
            head, _, rest = path.partition(".")
            value = shown.get(head)
            if isinstance(value, str) and value in self.objects:
                value = dict(self.objects[value])
            if isinstance(value, dict):
                shown[head] = self.expand(value, [rest]) if rest else value
            elif isinstance(value, list) and rest:
                shown[head] = [self.expand(each, [rest]) for each in value]
        return shown

    def card(self, number: str, customer: str | None) -> Body:
        """Make a payment method of a card's number."""
        digits = number.replace(" ", "")
        return self.make(
            "pm",
            "payment_method",
            type="card",
            customer=customer,
            card={
                "brand": "visa",
                "last4": digits[-4:],
                "exp_month": 12,
                "exp_year": 2034,
                "funding": "credit",
                "fingerprint": hashlib.sha256(digits.encode()).hexdigest()[:16],
            },
        )

    def intent(self, **facts: Any) -> Body:
        """Make a payment intent that is not paid yet."""
        return self.make("pi", "payment_intent", **facts)

    def pay(self, intent: Body, method: Body, *, off_session: bool) -> None:
        """Charge a card for an intent."""
        last4 = method["card"]["last4"]
        intent["payment_method"] = method["id"]
        declined = DECLINES.get(last4)
        if off_session and last4 == AUTHENTICATES:
            declined = "authentication_required"
        if declined:
            self._decline(intent, declined)
        self.settle(intent, method)

    def _decline(self, intent: Body, code: str) -> None:
        error = {"type": "card_error", "code": "card_declined"}
        error |= {"decline_code": code, "message": "Declined."}
        intent["last_payment_error"] = error
        intent["status"] = "requires_payment_method"
        self.tell("payment_intent.payment_failed", intent)
        raise Failure(
            402,
            "authentication_required" if code == "authentication_required" else "card_declined",
            "Your card was declined.",
            type="card_error",
            decline_code=code,
            payment_intent=public(intent),
        )

    def settle(self, intent: Body, method: Body) -> None:
        """Note that an intent was paid."""
        charge = self.make(
            "ch",
            "charge",
            amount=intent["amount"],
            amount_captured=intent["amount"],
            currency=intent["currency"],
            customer=intent.get("customer"),
            payment_intent=intent["id"],
            receipt_url="https://pay.stripe.com/receipts/fake",
            payment_method_details={"type": "card", "card": dict(method["card"])},
        )
        fee = 30 + intent["amount"] * 29 // 1000
        entry = self.move("charge", charge, intent["amount"], fee=fee)
        charge["balance_transaction"] = entry["id"]
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": charge["id"],
            "last_payment_error": None,
        }
        self.tell("payment_intent.succeeded", intent)
        if method["card"]["last4"] == DISPUTES:
            self.dispute(intent["id"])
        if method["card"]["last4"] == WARNS:
            self.warn(intent["id"])

    def move(self, kind: str, source: Body, amount: int, *, fee: int = 0) -> Body:
        """Move money on our balance."""
        return self.make(
            "txn",
            "balance_transaction",
            type=kind,
            amount=amount,
            fee=fee,
            net=amount - fee,
            currency=source.get("currency", "usd"),
            source=source["id"],
        )

    def refund(self, intent: Body, amount: int, metadata: Body, *, status: str) -> Body:
        """Send money back."""
        done = [
            each
            for each in self.all("refund")
            if each["payment_intent"] == intent["id"] and each["status"] != "failed"
        ]
        if amount > intent["amount_received"] - sum(each["amount"] for each in done):
            raise Failure(400, "charge_already_refunded", "More than the charge.")
        charge = self.objects[intent["latest_charge"]]
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        made = self.make(
            "re",
            "refund",
            amount=amount,
            currency=intent["currency"],
            payment_intent=intent["id"],
            charge=intent["latest_charge"],
            metadata=metadata,
            status=status,
        )
        self.move("refund", made, -amount)
        self.tell("refund.created", made)
        self.tell("charge.refunded", charge)
        return made

    def end_refund(self, refund: Body, status: str) -> None:
        """Say what became of a refund."""
        refund["status"] = status
        if status == "failed":
            refund["failure_reason"] = "lost_or_stolen_card"
            charge = self.objects[refund["charge"]]
            charge["amount_refunded"] -= refund["amount"]
            charge["refunded"] = False
            self.move("refund_failure", refund, refund["amount"])
        self.tell("refund.failed" if status == "failed" else "refund.updated", refund)

    def dispute(self, intent_id: str, amount: int | None = None, status: str = "") -> Body:
        """Let a bank take a payment back."""
        intent = self.get(intent_id, "payment_intent")
        made = self.make(
            "dp",
            "dispute",
            amount=amount or intent["amount_received"],
            currency=intent["currency"],
            charge=intent["latest_charge"],
            payment_intent=intent_id,
            status=status or "needs_response",
        )
        self.objects[intent["latest_charge"]]["disputed"] = True
        if not status.startswith("warning"):
            entry = self.move("adjustment", made, -made["amount"], fee=1500)
            made["balance_transactions"] = [entry]
        self.tell("charge.dispute.created", made)
        return made

    def end_dispute(self, dispute: Body, status: str) -> None:
        """Say how a dispute ended."""
        dispute["status"] = status
        if status == "won":
            entry = self.move("adjustment", dispute, dispute["amount"])
            dispute["balance_transactions"] += [entry]
        self.tell("charge.dispute.closed", dispute)

    def warn(self, intent_id: str) -> Body:
        """Let a bank think that a payment is fraud."""
        intent = self.get(intent_id, "payment_intent")
        made = self.make(
            "issfr",
            "radar.early_fraud_warning",
            actionable=True,
            charge=intent["latest_charge"],
            payment_intent=intent_id,
            fraud_type="unauthorized_use_of_card",
        )
        self.tell("radar.early_fraud_warning.created", made)
        return made

    def payout(self, amount: int) -> Body:
        """Send money to our bank."""
        made = self.make("po", "payout", amount=amount, currency="usd", status="paid")
        self.move("payout", made, -amount)
        self.tell("payout.paid", made)
        return made

    def fail_payout(self, payout: Body) -> None:
        """Let it come back."""
        payout["status"] = "failed"
        self.move("payout_failure", payout, payout["amount"])
        self.tell("payout.failed", payout)

    # -- Checkout ---------------------------------------------------------------------------

    def session(self, wanted: Body, base: str) -> Body:
        """Open a page."""
        customer = self.get(wanted["customer"], "customer")
        if customer.get("deleted"):
            raise Failure(404, "resource_missing", "No such customer")
        ahead_s = int(wanted.get("expires_at") or time.time() + 86400) - time.time()
        if not 1800 <= ahead_s <= 86400:
            raise Failure(400, "", "expires_at is 30 minutes to 24 hours after the creation.")
        lines = wanted.get("line_items") or []
        subtotal = sum(
            int(each["price_data"]["unit_amount"]) * int(each["quantity"]) for each in lines
        )
        taxed = is_true((wanted.get("automatic_tax") or {}).get("enabled"))
        tax = subtotal * self.tax_percent // 100 if taxed else 0
        made = self.make(
            "cs_test",
            "checkout.session",
            mode=wanted["mode"],
            customer=wanted["customer"],
            client_reference_id=wanted.get("client_reference_id"),
            metadata=wanted.get("metadata") or {},
            currency="usd",
            amount_subtotal=subtotal,
            amount_total=subtotal + tax,
            total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": tax},
            automatic_tax={"enabled": taxed},
            billing_address_collection=wanted.get("billing_address_collection"),
            success_url=wanted.get("success_url", ""),
            cancel_url=wanted.get("cancel_url", ""),
            _marks=(wanted.get("payment_intent_data") or {}).get("metadata") or {},
            _keeps_address=(wanted.get("customer_update") or {}).get("address") == "auto",
            _saves=bool((wanted.get("payment_intent_data") or {}).get("setup_future_usage")),
        )
        made["url"] = f"{base}/c/pay/{made['id']}"
        return made

    def complete(self, session: Body, number: str, *, later: bool = False, **changes: Any) -> None:
        """Pay on a page, as its visitor does; ``later`` as methods do that take days."""
        if session["mode"] == "setup":
            self._complete_setup(session, number)
            return
        keeps = session["_saves"]
        method = self.card(number, session["customer"] if keeps else None)
        self._collect_address(session, method)
        intent = (
            self.objects[session["payment_intent"]]
            if session["payment_intent"]
            else self.intent(
                amount=session["amount_total"],
                currency="usd",
                customer=session["customer"],
                metadata=session["_marks"],
            )
        )
        intent |= changes
        session["payment_intent"] = intent["id"]
        if later:
            intent["status"] = "processing"
            session["status"] = "complete"
            self.tell("checkout.session.completed", session)
            return
        self.pay(intent, method, off_session=False)
        session |= {"status": "complete", "payment_status": "paid"}
        amounts = {"amount_paid": session["amount_total"], "subtotal": session["amount_subtotal"]}
        invoice = self.make("in", "invoice", total=session["amount_total"], **amounts)
        session["invoice"] = invoice["id"]
        self.tell("checkout.session.completed", session)

    def arrive(self, session: Body, *, failed: bool = False) -> None:
        """Let a method that takes days come to its end."""
        intent = self.objects[session["payment_intent"]]
        if failed:
            intent["status"] = "requires_payment_method"
            self.tell("checkout.session.async_payment_failed", session)
            return
        self.settle(intent, self.card("4242424242424242", None))
        session["payment_status"] = "paid"
        self.tell("checkout.session.async_payment_succeeded", session)

    def _complete_setup(self, session: Body, number: str) -> None:
        method = self.card(number, session["customer"])
        self._collect_address(session, method)
        setup = self.make("seti", "setup_intent", status="succeeded", payment_method=method["id"])
        session |= {"status": "complete", "setup_intent": setup["id"]}
        self.tell("setup_intent.succeeded", setup)
        self.tell("checkout.session.completed", session)

    def _collect_address(self, session: Body, method: Body) -> None:
        if session["billing_address_collection"] == "required":
            method["billing_details"]["address"] = dict(ADDRESS)
            if session["_keeps_address"]:
                self.objects[session["customer"]]["address"] = dict(ADDRESS)
