"""Our client at localstripe: somebody else's idea of what Stripe does."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from billing import invariants, ledger, refunds, topups
from billing.models_funding import Refund, SavedCard, StripeEvent, TopUp
from billing.stripe import cards, customers, events, returns
from tests import packages, pages
from tests.fakes.ports import free_port
from tests.fakes.stripe.process import ASKS, DECLINED, GOOD, KEY, SECRET
from tests.peers.conformance import clients

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(packages.WITHIN_S + 60)]
CENT = topups.NANOS_PER_CENT


@dataclass(frozen=True, slots=True)
class Peer:
    """Where it is, and the webhooks that it sent: body and signature."""

    url: str
    told: list[tuple[bytes, str]]

    def post(self, path: str, **said: str) -> Any:
        """Do what a browser does with Stripe's own scripts."""
        answer = httpx.post(f"{self.url}/v1/{path}", data=said, auth=(KEY, ""))
        return answer.raise_for_status().json()


class Listener(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    told: list[tuple[bytes, str]]

    def do_POST(self) -> None:
        """Take a webhook."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.told.append((body, self.headers["stripe-signature"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def running() -> Iterator[Peer]:
    program = clients.PEERS / "localstripe" / "program.py"
    peer = Peer(f"http://127.0.0.1:{free_port()}", [])
    Listener.told = peer.told
    listener = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    command = [str(clients.python(name="localstripe")), str(program), peer.url.rpartition(":")[2]]
    with subprocess.Popen(command) as process:
        hook = {"url": f"http://127.0.0.1:{listener.server_port}/", "secret": SECRET}
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.post(f"{peer.url}/_config/webhooks/product", json=hook).raise_for_status()
            except httpx.TransportError:
                assert process.poll() is None, "localstripe did not start"
                assert time.monotonic() < deadline, "localstripe did not start in time"
                time.sleep(0.05)
            else:
                break
        yield peer
        process.terminate()
    listener.shutdown()
    listener.server_close()
    thread.join()


@pytest.fixture
def peer(running: Peer, settings: Settings) -> Peer:
    settings.STRIPE_SECRET_KEY = KEY
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]
    settings.STRIPE_API_BASE = running.url
    return running


def saved_card(peer: Peer, number: str) -> SavedCard:
    """A workspace's card, as a page of Stripe would have saved it."""
    workspace = pages.home(pages.person("ada"))
    owner = customers.ensure(workspace=workspace)
    card = {"number": number, "exp_month": "12", "exp_year": "2034", "cvc": "123"}
    named = {f"card[{name}]": value for name, value in card.items()}
    method = peer.post("payment_methods", type="card", **named)["id"]
    peer.post(f"payment_methods/{method}/attach", customer=owner)
    kept = customers.sync_card(method_id=method)
    assert kept is not None
    return kept


def wait_for(peer: Peer, kind: str, subject: str) -> tuple[bytes, str]:
    """The webhook of a kind about an object."""
    deadline = time.monotonic() + 30
    while True:
        for body, signature in list(peer.told):
            if kind.encode() in body and subject.encode() in body:
                return body, signature
        assert time.monotonic() < deadline, f"no {kind} came"
        time.sleep(0.05)


def charge(card: SavedCard) -> TopUp:
    """Top up 20 dollars by a saved card."""
    top_up = topups.ask(workspace=card.workspace, amount_cents=2000, by=None, card=card)
    cards.charge(top_up=top_up)
    top_up.refresh_from_db()
    return top_up


def dollars(card: SavedCard) -> int:
    """The paid balance in cents."""
    return ledger.balance(workspace_id=card.workspace_id, asset=ledger.USD).paid // CENT


class TestCharge:
    def test_a_saved_card_pays_is_refunded_in_part_and_removed(self, peer: Peer) -> None:
        card = saved_card(peer, GOOD)
        assert (card.brand, card.last4) == ("visa", "4242")
        top_up = charge(card)
        assert (top_up.status, dollars(card)) == (TopUp.Status.PAID, 2000)
        returns.send(refund=refunds.ask(top_up=top_up, amount_cents=500, by=None))
        assert (Refund.objects.get().status, dollars(card)) == (Refund.Status.SUCCEEDED, 1500)
        topups.processor().forget_card(card=card, by=None)
        card.refresh_from_db()
        assert card.detached_at
        assert invariants.check(full=True).ok

    @pytest.mark.parametrize(
        ("number", "why"), [(DECLINED, "card_declined"), (ASKS, "requires_action")]
    )
    def test_a_card_that_does_not_pay_credits_nothing(
        self, peer: Peer, number: str, why: str
    ) -> None:
        card = saved_card(peer, number)
        top_up = charge(card)
        assert (top_up.status, top_up.failure, dollars(card)) == (TopUp.Status.FAILED, why, 0)


class TestWebhooks:
    def test_what_it_signs_is_valid_and_changes_nothing_twice(self, peer: Peer) -> None:
        card = saved_card(peer, GOOD)
        top_up = charge(card)
        body, signature = wait_for(peer, "payment_intent.succeeded", top_up.intent_id or "")
        event = events.receive(body=body, signature=signature)
        assert event is not None
        assert events.book(event_id=event.pk)
        assert events.receive(body=body, signature=signature) is None
        assert StripeEvent.objects.get().outcome == StripeEvent.Outcome.BOOKED
        assert dollars(card) == 2000
        with pytest.raises(events.Forged):
            events.receive(body=body + b" ", signature=signature)
