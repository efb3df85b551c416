"""A customer with a workspace who pays at the fake, and webhooks as Stripe sends them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import stripe
from django.conf import settings

from accounts.models import User, Workspace
from billing import autotopups, invariants, ledger, topups
from billing.models import Account, Transfer
from billing.models_funding import AutoTopUp, SavedCard, TopUp
from billing.stripe import booking, events
from tests import pages
from tests.fakes.stripe.process import GOOD, KEY, SECRET, FakeStripe

CENT = topups.NANOS_PER_CENT


def configure(fake: FakeStripe) -> None:
    """Point the product at an empty fake."""
    fake.do("reset")
    settings.STRIPE_SECRET_KEY = KEY
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]
    settings.STRIPE_API_BASE = fake.url


def sign(body: bytes, *, secret: str = SECRET, at: int | None = None) -> str:
    """Sign a body as Stripe does."""
    header: str = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)
    return header


def body_of(event: dict[str, Any]) -> bytes:
    """An event as it is sent."""
    return json.dumps(event).encode()


def deliver(event: dict[str, Any]) -> bool:
    """Receive and book one event; False where it has to wait."""
    body = body_of(event)
    events.receive(body=body, signature=sign(body))
    return events.book(event_id=event["id"])


@dataclass(slots=True)
class Payer:
    """Somebody with a workspace."""

    fake: FakeStripe
    user: User
    workspace: Workspace

    def ask(self, cents: int = 2000, **terms: Any) -> TopUp:
        """Ask for a payment and open its page."""
        top_up = topups.ask(workspace=self.workspace, amount_cents=cents, by=self.user, **terms)
        if top_up.method == TopUp.Method.CHECKOUT:
            topups.processor().open(top_up=top_up)
        top_up.refresh_from_db()
        return top_up

    def pay(self, cents: int = 2000, number: str = GOOD, **terms: Any) -> TopUp:
        """Pay, and let it be booked."""
        top_up = self.ask(cents, **terms)
        self.complete(top_up, number)
        booking.book_session(top_up.session_id or "")
        top_up.refresh_from_db()
        assert top_up.status == TopUp.Status.PAID
        return top_up

    def complete(self, top_up: TopUp, number: str = GOOD, **changes: Any) -> None:
        """Do on the page what its visitor does; nothing is booked by that."""
        self.fake.do("complete", id=top_up.session_id, number=number, **changes)

    def save_card(self, number: str = GOOD) -> SavedCard:
        """Pay 5 dollars with a card and let it be kept."""
        self.pay(500, number, save_card=True)
        return SavedCard.objects.filter(workspace=self.workspace).latest("id")

    def balance(self) -> ledger.Balance:
        """The dollars."""
        return ledger.balance(workspace_id=self.workspace.pk, asset=ledger.USD)

    @property
    def cents(self) -> int:
        """The paid balance in cents."""
        return self.balance().paid // CENT

    @property
    def frozen(self) -> bool:
        """Whether calls are refused."""
        return Account.objects.get(workspace=self.workspace, kind="paid", asset="USD").frozen

    def spend(self, cents: int) -> None:
        """Spend paid money, as far as the books are concerned."""
        home = ledger.open_accounts(workspace_id=self.workspace.pk).usd_id
        ledger.post(
            ledger.Transfer(
                kind="spent",
                source=topups.source_of(f"spent-{cents}-{Transfer.objects.count()}"),
                debit=home,
                credit=ledger.house_account(kind="revenue", asset="USD"),
                asset="USD",
                amount=cents * CENT,
            )
        )

    def automatic(self, card: SavedCard, **terms: Any) -> AutoTopUp:
        """Want automatic top-ups."""
        wanted: dict[str, Any] = {
            "enabled": True,
            "threshold_nanos": 10**11,
            "amount_cents": 1000,
            "monthly_limit_cents": 5000,
            "card": card,
        }
        return autotopups.choose(workspace=self.workspace, by=self.user, **(wanted | terms))


def payer(fake: FakeStripe, name: str = "ada") -> Payer:
    """Make somebody."""
    user = pages.person(name)
    return Payer(fake, user, pages.home(user))


def kinds() -> list[str]:
    """What was booked, in order."""
    return list(Transfer.objects.order_by("id").values_list("kind", flat=True))


def house(kind: str, asset: str = "USD") -> int:
    """What the house's account of a kind has, credits less debits, in cents."""
    account = ledger.house_account(kind=kind, asset=asset)
    came = sum(int(row.amount) for row in Transfer.objects.filter(credit_id=account))
    went = sum(int(row.amount) for row in Transfer.objects.filter(debit_id=account))
    return (came - went) // CENT if asset == "USD" else came - went


def sound() -> bool:
    """Whether the books add up."""
    return invariants.check(full=True).ok
