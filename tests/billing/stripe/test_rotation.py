"""Stripe's key and the secret of its webhooks are replaced while payments come in."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest
import stripe
from django.db import connection
from pytest_django import Settings

from billing import topups
from billing.models import Transfer
from billing.models_funding import StripeEvent, TopUp
from billing.stripe import booking, events
from tests.billing.stripe.payer import Payer, body_of, sound
from tests.fakes.gateway import GatewayProcess
from tests.fakes.stripe.process import KEY, SECRET

NEXT_KEY, NEXT_SECRET = "sk_test_next", "whsec_the_next_secret_of_the_tests"
PAYMENTS = 9
WITHIN_S = 30


class Till:
    """Somebody pays again and again; Stripe tells of it as it does, first come, first tried."""

    def __init__(self, payer: Payer) -> None:
        self.payer = payer
        self.gateways: list[str] = []
        self.signers = [SECRET]
        self.told: set[str] = set()
        self.statuses: list[int] = []

    def run(self) -> None:
        """Pay until there is nothing left to pay."""
        with httpx.Client(trust_env=False, timeout=WITHIN_S) as self.client, closing(connection):
            for top_up in TopUp.objects.order_by("id"):
                page = self.ask("GET", f"/top-ups/{top_up.public_id}")
                assert page.headers["location"].startswith(self.payer.fake.url), page.headers
                top_up.refresh_from_db()
                self.payer.complete(top_up)
                for event in self.payer.fake.events():
                    if event["id"] not in self.told:
                        self.told.add(event["id"])
                        self.statuses.append(self.tell(body_of(event)))

    def tell(self, body: bytes) -> int:
        """Deliver an event, signed with each secret that is good at Stripe now."""
        now = int(time.time())
        marks = [
            stripe.WebhookSignature._compute_signature(f"{now}.{body.decode()}", secret)
            for secret in self.signers
        ]
        header = ",".join([f"t={now}", *(f"v1={mark}" for mark in marks)])
        named = {"stripe-signature": header, "content-type": "application/json"}
        return self.ask("POST", "/webhooks/stripe", content=body, headers=named).status_code

    def ask(self, method: str, path: str, **terms: object) -> httpx.Response:
        """Ask a gateway, the next one where one is closed."""
        for url in list(self.gateways):
            try:
                return self.client.request(method, f"{url}{path}", **terms)  # type: ignore[arg-type]
            except httpx.ConnectError:
                continue
        raise AssertionError("no gateway answers")

    @contextmanager
    def busy(self) -> Iterator[threading.Thread]:
        """Pay while the block runs, and to the end."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield thread
        finally:
            thread.join()

    def told_of(self, count: int) -> None:
        """Wait until so many events were delivered since now."""
        wanted, deadline = len(self.statuses) + count, time.monotonic() + WITHIN_S
        while len(self.statuses) < wanted:
            assert time.monotonic() < deadline, self.statuses
            time.sleep(0.01)


def process(payer: Payer, *, key: str, secrets: str) -> GatewayProcess:
    """A gateway that has these."""
    return GatewayProcess(
        STRIPE_API_BASE=payer.fake.url, STRIPE_SECRET_KEY=key, STRIPE_WEBHOOK_SECRETS=secrets
    )


@pytest.mark.django_db(transaction=True)
def test_no_payment_and_no_event_is_lost(ada: Payer, settings: Settings) -> None:
    for _ in range(PAYMENTS):
        topups.ask(workspace=ada.workspace, amount_cents=2000, by=ada.user)
    till = Till(ada)
    with process(ada, key=NEXT_KEY, secrets=f"{NEXT_SECRET},{SECRET}") as new:
        with process(ada, key=KEY, secrets=SECRET) as old:
            till.gateways = [old.url]
            with till.busy():
                till.told_of(2)
                # Stripe signs with both from here on, and takes both keys.
                till.signers = [NEXT_SECRET, SECRET]
                till.told_of(2)
                till.gateways = [new.url]
                till.told_of(2)
                till.signers = [NEXT_SECRET]
                ada.fake.do("knobs", key=NEXT_KEY)
        assert set(till.statuses) == {200}
    # What the queue would do, where only the next ones are known.
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRETS = NEXT_KEY, [NEXT_SECRET]
    waiting = StripeEvent.objects.filter(outcome=StripeEvent.Outcome.WAITING)
    assert all(events.book(event_id=event.pk) for event in waiting)
    assert ada.cents == PAYMENTS * 2000
    assert Transfer.objects.filter(kind=booking.KIND).count() == PAYMENTS
    assert StripeEvent.objects.count() == len(till.told)
    assert sound()
