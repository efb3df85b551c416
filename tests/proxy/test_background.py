"""Generations in the background: made by a real Celery worker, never twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import redis
from django.utils import timezone
from pytest_django import Settings

from billing import prices
from billing.models import Hold
from billing.pricing import Rates
from common import crypto, ids
from proxy import keeping
from proxy.models import GatewayProcess as ProcessRow
from proxy.models import Generation, ModelAlias, Route
from proxy.sweep import sweep
from proxy.tasks import make_generation, tidy_kept
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.fakes.worker import WorkerProcess
from tests.proxy.conftest import Shop, make_provider, request_id
from tests.proxy.neuralbox import (
    CLAUDE,
    GOLDEN,
    URL,
    ask,
    books,
    box,
    ended,
    requeue,
    sold,
    status,
    tokens_left,
    worker,
)

__all__ = ["books", "box", "sold", "worker"]


def add_route(alias: str, upstream: FakeUpstream) -> None:
    """Give a model a second route, after its first."""
    model = ModelAlias.objects.get(alias=alias).model
    provider = make_provider("other", upstream.base_url)
    Route.objects.create(model=model, provider=provider, upstream_model="up", priority=9)


class TestMake:
    def test_is_pending_at_once_and_made_by_a_worker(
        self, box: httpx.Client, upstream: FakeUpstream, worker: WorkerProcess, shop: Shop
    ) -> None:
        """NB-08, NB-10: pending, then completed."""
        looked = threading.Event()
        upstream.script([fake.Gate(looked), *GOLDEN])

        response = box.post(URL, json=ask() | {"async": True})

        assert response.status_code == 200
        body = response.json()
        assert (body["status"], body["content"], body["tokens_used"]) == ("pending", None, 0)
        assert shop.holds == 1
        looked.set()
        told = ended(box, body["id"])
        assert told["status"] == "completed"
        assert (told["content"], told["tokens_used"]) == ("Privet!", 3)
        assert (told["balance_remaining"], told["model"]) == (297, CLAUDE)
        assert told["usage"]["total_tokens"] == 529
        assert told["created_at"] == body["created_at"]
        assert len(upstream.calls) == 1
        assert (shop.last.charged, shop.holds) == (3, 0)
        assert shop.last.id == request_id(response)

    def test_a_failure_is_told_by_the_status(
        self, box: httpx.Client, upstream: FakeUpstream, worker: WorkerProcess, shop: Shop
    ) -> None:
        """NB-08, NB-10: the status call itself is 200."""
        upstream.script(fake.error(500))

        told = ended(box, box.post(URL, json=ask() | {"async": True}).json()["id"])

        assert (told["status"], told["content"], told["tokens_used"]) == ("failed", None, 0)
        assert told["error"]["reason"] == "upstream_failed"
        assert tokens_left(shop) == 300

    def test_without_tokens_it_is_402_at_once(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-08: the money is taken aside at submission."""
        response = client.post(URL, json=ask(model="test/tokens") | {"async": True})

        assert response.status_code == 402
        assert not Generation.objects.exists()

    def test_told_many_times_it_is_made_once(
        self, box: httpx.Client, upstream: FakeUpstream, worker: WorkerProcess
    ) -> None:
        """NB-08: a message that comes twice is no second call."""
        told = threading.Event()
        upstream.script([fake.Gate(told), *GOLDEN])
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        for _ in range(10):
            make_generation.delay(str(ids.parse_request(id_)))
        told.set()

        assert ended(box, id_)["status"] == "completed"
        time.sleep(0.5)
        assert len(upstream.calls) == 1

    def test_it_bills_the_price_it_was_admitted_with(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-09: a price that rises meanwhile is for others."""
        upstream.script(GOLDEN)
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        dearer = Rates(prompt=300_000_000, completion=1_500_000_000)
        prices.set_price(
            subject="anthropic/claude-sonnet-4.5",
            role="retail",
            rates=dearer,
            now=timezone.now(),
        )

        with WorkerProcess():
            assert ended(box, id_)["tokens_used"] == 3

    def test_nothing_is_chosen_again(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-08: the routes, their order and their prices are those of the admission."""
        with FakeUpstream() as other:
            add_route(CLAUDE, other)
            upstream.script(GOLDEN)
            wish = {"allow_fallbacks": False, "max_price": {"prompt": 3, "completion": "15.00"}}
            id_ = box.post(URL, json=ask(provider=wish) | {"async": True}).json()["id"]
            # Now the other is cheaper, and the one that was admitted beyond the ceiling.
            dearer = Rates(prompt=300_000_000, completion=1_500_000_000)
            cheaper = Rates(prompt=1, completion=1)
            Route.objects.filter(provider__slug="other").update(own_price=True)
            for subject, rates in (
                ("anthropic/claude-sonnet-4.5", dearer),
                (Route.objects.get(provider__slug="other").subject, cheaper),
            ):
                prices.set_price(subject=subject, role="retail", rates=rates, now=timezone.now())

            with WorkerProcess():
                told = ended(box, id_)

        assert (told["status"], told["tokens_used"]) == ("completed", 3), told
        assert (len(upstream.calls), len(other.calls)) == (1, 0)

    def test_a_worker_killed_in_the_middle_never_leads_to_a_second_call(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop, settings: Settings
    ) -> None:
        """NB-10: the sweep closes the hold on evidence, then it has failed."""
        upstream.script([fake.Stall()])
        with WorkerProcess() as worker:
            id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
            upstream.wait_for_calls(1)
            worker.kill()
        settings.SILENT_AFTER_S = 0.01
        ProcessRow.objects.filter(id=Hold.objects.get().process_id).update(
            stopped_at=timezone.now()
        )
        with WorkerProcess():
            requeue()
            time.sleep(1)
            assert status(box, id_).json()["status"] == "pending"

            sweep()
            time.sleep(0.1)
            told = status(box, id_).json()

            assert (told["status"], told["content"], told["tokens_used"]) == ("failed", None, 0)
            assert told["error"]["reason"] == "internal"
            requeue()
            time.sleep(1)
        assert len(upstream.calls) == 1
        assert shop.holds == 0
        assert tokens_left(shop) == 300

    def test_a_worker_that_is_stopped_finishes_what_it_began(
        self, box: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-08: a deployment loses nothing."""
        upstream.script([fake.Pause(2), *GOLDEN])
        with WorkerProcess():
            id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
            upstream.wait_for_calls(1)

        assert status(box, id_).json()["status"] == "completed"

    def test_a_queue_that_is_away_is_no_error(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-08: the row waits for beat, the caller does not."""
        with GatewayProcess(REDIS_URL="redis://127.0.0.1:9/0") as gateway:
            response = httpx.post(
                f"{gateway.url}{URL}",
                json=ask() | {"async": True},
                headers={"authorization": f"Bearer {shop.secret}"},
                timeout=60,
                trust_env=False,
            )

        assert response.json()["status"] == "pending"
        Generation.objects.update(created_at=timezone.now())
        assert keeping.tidy().waiting == ()
        Generation.objects.update(created_at=timezone.now() - timedelta(seconds=11))
        assert keeping.tidy().waiting == (request_id(response),)

    def test_a_worker_killed_after_the_answer_loses_nothing(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop, settings: Settings
    ) -> None:
        """NB-10: what was drafted and is charged on evidence is completed."""
        upstream.script(GOLDEN)
        with WorkerProcess():
            id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
            whole = ended(box, id_)
        # As if the worker had died between the ledger's commit and its own.
        Generation.objects.update(
            status="pending", drafted=True, tokens_used=0, balance_remaining=None
        )
        settings.SILENT_AFTER_S = 0.01

        assert status(box, id_).json() == whole

    def test_what_waits_belongs_to_nobody_the_sweep_could_close(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop, settings: Settings
    ) -> None:
        """NB-08: a gateway that is restarted takes nothing from the queue."""
        settings.SILENT_AFTER_S = 0.01
        upstream.script(GOLDEN)
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        ProcessRow.objects.update(stopped_at=timezone.now())
        sweep()
        assert shop.holds == 1

        with WorkerProcess():
            requeue()
            assert ended(box, id_)["status"] == "completed"

    def test_what_no_worker_takes_is_given_back(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop, settings: Settings
    ) -> None:
        """NB-10: it has failed, and was never dispatched."""
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        settings.HOLD_TTL_S = 0

        assert keeping.tidy().abandoned == 1

        told = status(box, id_).json()
        assert (told["status"], told["balance_remaining"]) == ("failed", 300)
        assert shop.holds == 0
        with WorkerProcess():
            requeue()
            time.sleep(1)
        assert upstream.calls == []

    def test_one_without_a_message_is_queued_again(
        self, box: httpx.Client, upstream: FakeUpstream, redis_server: redis.Redis
    ) -> None:
        """NB-08: the row is the truth, the broker's message is not."""
        upstream.script(GOLDEN)
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        redis_server.flushdb()
        Generation.objects.update(created_at=timezone.now() - timedelta(seconds=11))
        with WorkerProcess():
            tidy_kept()
            assert ended(box, id_)["status"] == "completed"


class TestOpened:
    def test_what_an_earlier_version_wrote_is_made_within_todays_bounds(
        self, box: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NB-08: what waits across an upgrade is not lost."""
        upstream.script(GOLDEN)
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        reseal(lambda term: {name: term[name] for name in ("route_id", "price_id", "rates")})

        with WorkerProcess():
            requeue()
            told = ended(box, id_)

        assert (told["status"], told["tokens_used"]) == ("completed", 3)

    def test_what_cannot_be_read_fails_and_is_given_back(
        self, box: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """NB-10: and was never dispatched."""
        id_ = box.post(URL, json=ask() | {"async": True}).json()["id"]
        reseal(lambda term: {"leg": term})

        with WorkerProcess():
            requeue()
            told = ended(box, id_)

        assert (told["status"], told["balance_remaining"]) == ("failed", 300)
        assert (upstream.calls, shop.holds) == ([], 0)


def reseal(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Write the terms of the generation that waits in another form."""
    row = Generation.objects.get()
    fields = json.loads(crypto.unseal(bytes(row.sealed or b""), row.sealed_key_id))
    fields["terms"] = [change(term) for term in fields["terms"]]
    row.sealed, row.sealed_key_id = crypto.seal(json.dumps(fields).encode())
    row.save()
