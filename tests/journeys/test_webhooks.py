"""
Webhooks from end to end: real workers, a real receiver, proved by the library of the standard.

What beat would start is started by hand, so that nothing here waits for a clock.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone
from pytest_django import Settings
from standardwebhooks import Webhook, WebhookVerificationError

from accounts import tasks, webhooks
from accounts.models import WebhookDelivery, WebhookEndpoint
from billing import alerts, topups
from billing.tasks import send_alerts
from common import ids
from tests.api.conftest import Program, session
from tests.fakes import upstream as fake
from tests.fakes.receiver import Receiver
from tests.fakes.upstream import FakeUpstream
from tests.fakes.worker import WorkerProcess
from tests.proxy.conftest import Shop, add_model, client, gateway, hello, provider, shop, upstream
from tests.proxy.neuralbox import GOLDEN, URL, ask, box, sold

__all__ = ["add_model", "box", "client", "gateway", "provider", "shop", "sold", "upstream"]

EVENTS = ("key.created", "generation.finished", "balance.low", "topup.succeeded")
WITHIN_S = 30
USD = 10**9


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    made = Receiver()
    settings.WEBHOOK_ALLOWED_TARGETS = [f"127.0.0.1:{made.port}"]
    yield made
    made.stop()


@pytest.fixture
def made(shop: Shop, receiver: Receiver) -> tuple[WebhookEndpoint, str]:
    """The customer's webhook and its secret."""
    return webhooks.create(workspace=shop.workspace, url=receiver.url, events=EVENTS, by=shop.user)


def worker_for(receiver: Receiver) -> WorkerProcess:
    """A worker that may send to the receiver."""
    return WorkerProcess(WEBHOOK_ALLOWED_TARGETS=f"127.0.0.1:{receiver.port}")


def until(true: Callable[[], object], *, why: str, start: Any = tasks.deliver_webhooks) -> None:
    """Start a task again and again, as beat does, until something is so."""
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline, (why, log())
        start.delay()
        time.sleep(0.3)


def log() -> list[tuple[str, str, str]]:
    """What became of each delivery so far."""
    found = WebhookDelivery.objects.order_by("id")
    return list(found.values_list("event__kind", "status", "error"))


def status_of(delivery_id: int) -> str:
    return WebhookDelivery.objects.get(pk=delivery_id).status


class TestEvents:
    def test_each_arrives_signed_and_a_failed_one_arrives_later(
        self,
        box: httpx.Client,
        upstream: FakeUpstream,
        shop: Shop,
        made: tuple[WebhookEndpoint, str],
        receiver: Receiver,
    ) -> None:
        with worker_for(receiver):
            self._everything_happens(box, upstream, shop)
            until(lambda: set(receiver.kinds) >= set(EVENTS), why="something did not come")
            self._each_is_proved(made[1], shop, receiver)
            self._a_failure_is_made_good(shop, made[0], receiver)
            self._another_secret_takes_over(shop, *made, receiver)

    def _everything_happens(self, box: httpx.Client, upstream: FakeUpstream, shop: Shop) -> None:
        shop.new_key(name="told of")
        upstream.script(GOLDEN)
        assert box.post(URL, json=ask()).status_code == 200
        alerts.set_low_balance(workspace=shop.workspace, nanos=10 * USD, by=shop.user)
        upstream.script(fake.completion("Hello", prompt_tokens=10, completion_tokens=5))
        assert box.post("/v1/chat/completions", json=hello()).status_code == 200
        until(
            lambda: WebhookDelivery.objects.filter(event__kind="balance.low").exists(),
            start=send_alerts,
            why="nobody saw that the balance is low",
        )
        topups.credit_once(
            topups.Income(
                workspace_id=shop.workspace.pk,
                kind="topup",
                source=ids.request_id(),
                house="stripe",
                amount=20 * USD,
                reference="top_1",
            )
        )

    def _each_is_proved(self, secret: str, shop: Shop, receiver: Receiver) -> None:
        told = {}
        for headers, body in receiver.requests:
            event = Webhook(secret).verify(body, headers)
            assert headers["webhook-id"] == event["id"]
            assert event["workspace_id"] == shop.workspace.public_id
            told[event["type"]] = event["data"]
        assert told["key.created"]["name"] == "told of"
        assert told["generation.finished"]["status"] == "completed"
        assert told["balance.low"]["asset"] == "USD"
        assert told["topup.succeeded"]["amount"] == "20.00"
        program, [endpoint] = session(shop.user, shop.workspace), WebhookEndpoint.objects.all()
        until(
            lambda: {row["status"] for row in deliveries(program, endpoint)} == {"delivered"},
            why="the log does not say that all were delivered",
        )
        assert {row["event"] for row in deliveries(program, endpoint)} == set(EVENTS)

    def _a_failure_is_made_good(
        self, shop: Shop, endpoint: WebhookEndpoint, receiver: Receiver
    ) -> None:
        receiver.status = 500
        receiver.requests.clear()
        shop.new_key(name="told of twice")
        row = WebhookDelivery.objects.latest("id")
        until(lambda: WebhookDelivery.objects.get(pk=row.pk).code == 500, why="nobody tried")
        row.refresh_from_db()
        assert row.status == "pending"
        assert row.next_at - timezone.now() < timedelta(seconds=7)
        receiver.status = 200
        # The back-off is real: it is not due before five seconds have gone by.
        until(lambda: status_of(row.pk) == "delivered", why="it was not tried again")
        program = session(shop.user, shop.workspace)
        path = f"webhooks/{endpoint.public_id}/deliveries/{row.public_id}"
        tries = program.get(path)["log"]
        assert [each["code"] for each in tries] == [500, 200]
        assert tries[1]["at"] > tries[0]["at"]

        program.post(f"{path}/resend")

        until(lambda: len(receiver.requests) == 3, why="it was not sent again")
        assert {headers["webhook-id"] for headers, _ in receiver.requests} == {row.event.public_id}
        assert len({body for _, body in receiver.requests}) == 1
        until(lambda: len(program.get(path)["log"]) == 3, why="the log does not say so")

    def _another_secret_takes_over(
        self, shop: Shop, endpoint: WebhookEndpoint, old: str, receiver: Receiver
    ) -> None:
        receiver.requests.clear()
        shop.new_key(name="key 0")
        until(lambda: len(receiver.requests) == 1, why="the first did not come")
        for number in range(1, 5):
            shop.new_key(name=f"key {number}")
        endpoint, new = webhooks.rotate_secret(endpoint=endpoint, by=shop.user)
        for number in range(5, 9):
            shop.new_key(name=f"key {number}")
        until(lambda: len(receiver.requests) == 9, why="some did not come")
        signed = [signers(request, old, new) for request in receiver.requests]
        assert signed[0] == {old}
        assert all(old in each for each in signed), "who knows the old one alone proves them all"
        assert sum(each == {old, new} for each in signed) >= 4
        WebhookEndpoint.objects.update(old_until=timezone.now())
        shop.new_key(name="key 9")
        until(lambda: len(receiver.requests) == 10, why="the last did not come")
        assert signers(receiver.requests[-1], old, new) == {new}
        told = {json.loads(body)["data"]["name"] for _, body in receiver.requests}
        assert told == {f"key {number}" for number in range(10)}


def signers(request: tuple[dict[str, str], bytes], *secrets: str) -> set[str]:
    """The secrets by which a delivery is proved."""
    headers, body = request
    proved = set()
    for secret in secrets:
        with suppress(WebhookVerificationError):
            Webhook(secret).verify(body, headers)
            proved.add(secret)
    return proved


def deliveries(program: Program, endpoint: WebhookEndpoint) -> list[dict[str, str]]:
    """The log of a webhook."""
    rows: list[dict[str, str]] = program.get(f"webhooks/{endpoint.public_id}/deliveries")["data"]
    return rows


class TestWorkers:
    def test_what_a_dead_worker_had_claimed_another_delivers_under_the_same_id(
        self, shop: Shop, settings: Settings
    ) -> None:
        # Whoever connects here waits: nobody ever reads what they send.
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            port = deaf.getsockname()[1]
            settings.WEBHOOK_ALLOWED_TARGETS = [f"127.0.0.1:{port}"]
            endpoint, secret = webhooks.create(
                workspace=shop.workspace,
                url=f"http://127.0.0.1:{port}/hook",
                events=["key.created"],
                by=shop.user,
            )
            with WorkerProcess(WEBHOOK_ALLOWED_TARGETS=f"127.0.0.1:{port}") as dying:
                shop.new_key(name="told of late")
                row = WebhookDelivery.objects.get()
                until(lambda: WebhookDelivery.objects.get().claimed_until, why="nobody claimed it")
                dying.kill()
        row.refresh_from_db()
        assert (row.status, row.attempts, row.log) == ("pending", 1, [])
        # A claim ends after a minute, which is not waited for.
        WebhookDelivery.objects.update(claimed_until=timezone.now())
        receiver = Receiver(port)
        try:
            with worker_for(receiver):
                until(lambda: status_of(row.pk) == "delivered", why="nobody went on")
        finally:
            receiver.stop()

        [(headers, body)] = receiver.requests
        assert Webhook(secret).verify(body, headers)["data"]["name"] == "told of late"
        assert headers["webhook-id"] == row.event.public_id
        assert row.endpoint == endpoint
        row.refresh_from_db()
        assert [each["code"] for each in row.log] == [200]
        assert row.attempts == 2
