"""An ``Idempotency-Key`` whose process was killed: the ledger says what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from billing import invariants
from billing.models import Usage
from common import ids
from proxy import hindsight
from proxy.models import GatewayProcess as ProcessRow
from proxy.models import IdempotencyKey, Provider
from proxy.sweep import sweep
from proxy.till import Bill, Closing
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello

CHAT = "/v1/chat/completions"
COST = 16_000
KEY = {"idempotency-key": "order-66"}


@pytest.fixture(autouse=True)
def _books(transactional_db: None) -> Iterator[None]:
    yield
    report = invariants.check()
    assert report.ok, report


@pytest.fixture
def _killed(shop: Shop, client: httpx.Client, upstream: FakeUpstream, settings: Settings) -> None:
    """Beside the client's, which lives, a gateway died; a sweep may say so at once."""
    upstream.script([fake.Stall()])
    kill_in_the_middle(shop, upstream)
    settings.SILENT_AFTER_S = 0.01


def spent(shop: Shop) -> int:
    return 10_000_000_000 - shop.balance.total


def reason(response: httpx.Response) -> str:
    return str(response.json()["error"]["reason"])


@pytest.mark.usefixtures("_killed")
class TestAKilledProcess:
    def test_leaves_the_key_in_progress_until_the_sweep(
        self, shop: Shop, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """What is unknown may have been made: it is not made again."""
        waiting = client.post(CHAT, json=hello(), headers=KEY)
        sweep()
        expire_moment()
        after = client.post(CHAT, json=hello(), headers=KEY)

        assert (waiting.status_code, reason(waiting)) == (409, "idempotency_in_progress")
        assert (after.status_code, reason(after)) == (409, "idempotency_completed")
        assert after.json()["error"]["receipt_id"] == ids.form("req_", shop.last.id)
        assert len(upstream.calls) == 1

    def test_frees_the_key_where_the_sweep_finds_that_nothing_arrived(
        self, shop: Shop, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        Provider.objects.update(generation_lookup="sandbox")
        upstream.script(fake.completion(), path="/chat/completions")

        sweep()
        again = client.post(CHAT, json=hello(), headers=KEY)

        assert shop.usage[0].state == "voided"
        assert again.status_code == 200
        assert spent(shop) == COST

    def test_is_charged_once_though_evidence_of_it_comes_after_all(
        self, shop: Shop, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """Its key was given away: what the lost machine then tells is our loss."""
        Provider.objects.update(generation_lookup="sandbox")
        upstream.script(fake.completion(), path="/chat/completions")
        sweep()
        [swept] = shop.usage
        again = client.post(CHAT, json=hello(), headers=KEY)
        late = late_evidence(swept)

        verdicts = [hindsight.correct(late).v for _ in range(2)]

        assert (swept.state, again.status_code) == ("voided", 200)
        assert verdicts == ["corrected", "already"]
        first, second = shop.usage
        assert (first.state, first.reason) == ("late", "repeated")
        assert (first.charged, first.uncollected, second.charged) == (0, COST, COST)
        assert spent(shop) == COST

    def test_keeps_its_key_where_evidence_came_before_it_was_repeated(
        self, shop: Shop, client: httpx.Client
    ) -> None:
        Provider.objects.update(generation_lookup="sandbox")
        sweep()
        [swept] = shop.usage
        hindsight.correct(late_evidence(swept))
        expire_moment()

        again = client.post(CHAT, json=hello(), headers=KEY)

        assert (again.status_code, reason(again)) == (409, "idempotency_completed")
        assert again.json()["error"]["receipt_id"] == ids.form("req_", swept.id)
        assert spent(shop) == COST

    def test_leaves_a_receipt_where_the_sweep_charges(
        self, shop: Shop, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        Provider.objects.update(generation_lookup="sandbox")
        told = {"tokens_prompt": 10, "tokens_completion": 3, "finished": True, "id": "x"}
        upstream.script(fake.answer({"data": told}), path="/generation")

        sweep()
        expire_moment()
        again = client.post(CHAT, json=hello(), headers=KEY)

        assert shop.last.state == "settled"
        assert reason(again) == "idempotency_completed"
        assert again.json()["error"]["receipt_id"] == ids.form("req_", shop.last.id)
        assert spent(shop) == COST


class TestAProcessKilledBeforeItsHold:
    def test_keeps_the_key_for_half_a_minute(
        self, shop: Shop, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        client.post(CHAT, json=hello(), headers=KEY)
        # As if the process had died between taking the key and taking the money.
        IdempotencyKey.objects.update(request_id=ids.request_id(), answer=None, finished_at=None)

        soon = client.post(CHAT, json=hello(), headers=KEY)
        IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(seconds=31))
        later = client.post(CHAT, json=hello(), headers=KEY)

        assert reason(soon) == "idempotency_in_progress"
        assert later.status_code == 200


def late_evidence(swept: Usage) -> Closing:
    """What the lost machine tells of a call that a sweep has closed."""
    bill = Bill(
        id=swept.id, day=swept.day, state="settled", cost=COST, source="provider",
        price_id=swept.price_id, input_tokens=10, output_tokens=3,
    )  # fmt: skip
    return Closing(bill)


def kill_in_the_middle(shop: Shop, upstream: FakeUpstream) -> None:
    """Let a gateway die while a provider is asked."""
    with GatewayProcess() as gateway:
        with ThreadPoolExecutor(1) as thread:
            call = thread.submit(post_to, gateway, shop.secret)
            upstream.wait_for_calls(1)
            gateway.kill()
            assert isinstance(call.exception(), httpx.TransportError)
    hold = shop.holds
    assert hold == 1
    ProcessRow.objects.filter(heartbeat_at__isnull=False).exclude(
        id=ProcessRow.objects.order_by("id").first().pk  # type: ignore[union-attr]
    ).update(stopped_at=timezone.now())
    time.sleep(0.05)


def post_to(gateway: GatewayProcess, secret: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {secret}", **KEY}
    with httpx.Client(base_url=gateway.url, timeout=30, trust_env=False) as client:
        return client.post(CHAT, json=hello(), headers=headers)


def expire_moment() -> None:
    """Let the ten seconds pass in which an answer may still be kept."""
    with connection.cursor() as cursor:
        cursor.execute("set session_replication_role = replica")
        cursor.execute("update billing_usage set closed_at = closed_at - interval '11 seconds'")
        cursor.execute("set session_replication_role = origin")
