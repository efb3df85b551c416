"""What callers and their money notice when something is down: the table of docs/operations.md."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.test import override_settings
from msgspec import Raw

from billing import invariants, prices
from billing.models import Account, Alert, Hold
from billing.pricing import Rates
from common import ids
from proxy import receipts, spool
from proxy.breakers import FAILURES
from proxy.models import Checkpoint, Provider
from proxy.sweep import sweep
from tests.billing.bank import customer
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess, GatewayServer
from tests.fakes.ports import free_port
from tests.fakes.relay import Relay
from tests.fakes.upstream import FakeUpstream
from tests.fakes.worker import WorkerProcess
from tests.proxy.conftest import AddModel, Shop, hello, make_provider

PATIENCE_S = 60.0
EXACT = 16_000


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def database() -> Iterator[Relay]:
    """The gateways' way to PostgreSQL; the test's own goes past it."""
    default = settings.DATABASES["default"]
    with Relay(default["HOST"], int(default["PORT"])) as relay:
        yield relay


@pytest.fixture
def cache() -> Iterator[Relay]:
    """The gateways' way to Redis."""
    url = urlsplit(settings.REDIS_URL)
    with Relay(url.hostname or "", url.port or 0) as relay:
        yield relay


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def ways(
    shop: Shop, database: Relay, cache: Relay, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Gateways made here go to both stores by the relays, and spool into a folder."""
    redis = urlsplit(settings.REDIS_URL)
    monkeypatch.setitem(settings.DATABASES["default"], "PORT", database.port)
    with override_settings(
        REDIS_URL=f"redis://:{redis.password}@127.0.0.1:{cache.port}{redis.path}",
        SPOOL_DIR=folder,
        HEARTBEAT_S=0.3,
    ):
        yield


@pytest.fixture
def gateway(ways: None, database: Relay, cache: Relay) -> Iterator[GatewayServer]:
    with GatewayServer() as gateway:
        yield gateway
        database.mend()
        cache.mend()


@pytest.fixture
def process(ways: None, folder: Path) -> Iterator[GatewayProcess]:
    """A gateway that can be killed."""
    with GatewayProcess(SPOOL_DIR=str(folder)) as process:
        yield process


def call(
    gateway: GatewayServer | GatewayProcess, shop: Shop, model: str = "test/tokens"
) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json=hello(model),
        headers={"authorization": f"Bearer {shop.secret}"},
        timeout=60,
        trust_env=False,
    )


def cut_in_flight(
    gateway: GatewayServer | GatewayProcess, shop: Shop, upstream: FakeUpstream, database: Relay
) -> httpx.Response:
    """Make a call whose settlement finds the database gone."""
    gone = threading.Event()
    upstream.script([fake.Gate(gone), *fake.completion()])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call, gateway, shop)
        upstream.wait_for_calls(1)
        database.cut()
        gone.set()
        return answer.result()


def sweep_elsewhere(tmp_path: Path, gateway: GatewayServer, **counted: int) -> None:
    """Let a sweep that does not see the spool close a call that has a checkpoint."""
    expire_holds()
    (hold,) = Hold.objects.all()
    Checkpoint.objects.create(
        request_id=hold.pk, process_id=gateway.process_id, provider="first", **counted
    )
    with override_settings(SPOOL_DIR=tmp_path / "elsewhere", SILENT_AFTER_S=0.5):
        assert sweep().settled == 1


def expire_holds() -> None:
    """Let the outage last longer than a hold lives."""
    Hold.objects.update(expires_at=Now() - timedelta(seconds=1))


class TestRedis:
    def test_away_leaves_calls_and_their_money_as_they_are(
        self, shop: Shop, gateway: GatewayServer, cache: Relay
    ) -> None:
        cache.cut()

        answers = [call(gateway, shop) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [200] * 3
        assert all("x-ratelimit-remaining-requests" in answer.headers for answer in answers)
        assert [row.charged for row in shop.usage] == [EXACT] * 3

    def test_away_leaves_a_limit_per_process(
        self, shop: Shop, gateway: GatewayServer, cache: Relay
    ) -> None:
        shop.key.rpm = 2
        shop.key.save()
        cache.cut()

        assert [call(gateway, shop).status_code for _ in range(3)] == [200, 200, 429]

    def test_stopped_holds_up_nobody_for_long(
        self, shop: Shop, gateway: GatewayServer, cache: Relay
    ) -> None:
        call(gateway, shop)
        cache.stall()

        with httpx.Client(timeout=10, trust_env=False) as client:
            for _ in range(3):
                headers = {"authorization": f"Bearer {shop.secret}"}
                url = f"{gateway.url}/v1/chat/completions"
                assert client.post(url, json=hello(), headers=headers).status_code == 200


class TestPostgres:
    def test_away_is_a_503_before_any_provider_is_called(
        self,
        shop: Shop,
        gateway: GatewayServer,
        database: Relay,
        upstream: FakeUpstream,
    ) -> None:
        call(gateway, shop)
        database.cut()

        for _ in range(3):
            answer = call(gateway, shop)
            assert answer.status_code == 503
            assert answer.json()["error"]["reason"] == "store_unavailable"
            assert int(answer.headers["retry-after"]) >= 1
        assert len(upstream.calls) == 1

        database.mend()
        until(lambda: call(gateway, shop).status_code == 200)
        until(lambda: shop.holds == 0)
        assert invariants.check().ok

    def test_stopped_is_a_503_soon(
        self, shop: Shop, gateway: GatewayServer, database: Relay
    ) -> None:
        call(gateway, shop)
        database.stall()
        assert call(gateway, shop).status_code == 503
        database.mend()
        until(lambda: call(gateway, shop).status_code == 200)
        # What the stopped database had taken in is given back.
        until(lambda: shop.holds == 0)

    def test_away_at_the_start_ends_a_gateway_for_its_supervisor_to_start_again(
        self, ways: None, database: Relay
    ) -> None:
        database.cut()
        with pytest.raises(AssertionError, match="refused to start"):
            GatewayProcess().start()


class TestACallInFlightWithoutPostgres:
    def test_is_answered_at_its_price_and_booked_when_the_database_is_back(
        self,
        shop: Shop,
        gateway: GatewayServer,
        database: Relay,
        upstream: FakeUpstream,
        folder: Path,
    ) -> None:
        answer = cut_in_flight(gateway, shop, upstream, database)

        assert (answer.status_code, answer.headers["x-tollgate-cost"]) == (200, "0.000016")
        assert len(spool.kept_ids(folder)) == 1
        assert (shop.usage, shop.holds) == ([], 1)

        database.mend()
        until(lambda: not spool.files(folder))
        assert [(row.state, row.charged) for row in shop.usage] == [("settled", EXACT)]
        assert shop.holds == 0
        assert invariants.check().ok

    def test_survives_its_gateway_another_books_it(
        self,
        shop: Shop,
        process: GatewayProcess,
        database: Relay,
        upstream: FakeUpstream,
        folder: Path,
    ) -> None:
        cut_in_flight(process, shop, upstream, database)
        process.kill()
        assert len(spool.kept_ids(folder)) == 1
        database.mend()

        with GatewayServer():
            until(lambda: not spool.files(folder))

        assert [(row.state, row.charged) for row in shop.usage] == [("settled", EXACT)]

    def test_is_kept_when_its_gateway_is_told_to_stop(
        self,
        shop: Shop,
        ways: None,
        database: Relay,
        upstream: FakeUpstream,
        folder: Path,
    ) -> None:
        gone = threading.Event()
        upstream.script([fake.Gate(gone), *fake.completion()])
        with GatewayServer() as gateway, ThreadPoolExecutor(1) as pool:
            pool.submit(call, gateway, shop)
            upstream.wait_for_calls(1)
            database.cut()
            gone.set()
            upstream.wait_for_calls(1, ended=True)
        assert len(spool.kept_ids(folder)) == 1

    def test_longer_than_its_hold_lives_is_left_alone_by_a_sweep_that_sees_the_spool(
        self,
        shop: Shop,
        gateway: GatewayServer,
        database: Relay,
        upstream: FakeUpstream,
        folder: Path,
    ) -> None:
        cut_in_flight(gateway, shop, upstream, database)
        expire_holds()

        with override_settings(SILENT_AFTER_S=0.5):
            report = sweep()

        assert (report.unknown, report.pending) == (0, 1)
        database.mend()
        until(lambda: not spool.files(folder))
        assert [(row.state, row.charged) for row in shop.usage] == [("settled", EXACT)]

    def test_that_a_sweep_elsewhere_has_expired_is_settled_late_and_once(
        self,
        shop: Shop,
        gateway: GatewayServer,
        database: Relay,
        upstream: FakeUpstream,
        folder: Path,
        tmp_path: Path,
    ) -> None:
        cut_in_flight(gateway, shop, upstream, database)
        expire_holds()
        with override_settings(SPOOL_DIR=tmp_path / "elsewhere", SILENT_AFTER_S=0.5):
            assert sweep().unknown == 1
        (path,) = spool.files(folder)
        again = path.read_bytes()

        database.mend()

        until(lambda: not spool.files(folder))
        assert [(row.state, row.charged) for row in shop.usage] == [("late", EXACT)]
        path.write_bytes(again)
        until(lambda: not spool.files(folder))
        assert [row.charged for row in shop.usage] == [EXACT]
        assert [each.outcome for each in shop.attempts(shop.last.id)] == ["won"]
        assert spool.waiting(folder).refused == 0
        assert invariants.check().ok

    def test_that_a_sweep_elsewhere_had_to_estimate_is_corrected_once_at_its_own_price(
        self,
        shop: Shop,
        gateway: GatewayServer,
        database: Relay,
        upstream: FakeUpstream,
        folder: Path,
        tmp_path: Path,
    ) -> None:
        cut_in_flight(gateway, shop, upstream, database)
        sweep_elsewhere(tmp_path, gateway, bytes=80, input_tokens=1, output_tokens=20)
        estimate = shop.last.charged
        assert (estimate, shop.last.source) == (41_000, "checkpoint")
        # What the call was admitted at counts, whatever it costs by now.
        prices.set_price(
            subject="test/tokens",
            role="retail",
            rates=Rates(prompt=7, completion=9),
            now=datetime.now(UTC),
        )
        (path,) = spool.files(folder)
        again = path.read_bytes()

        with transaction.atomic():
            list(Account.objects.select_for_update())
            database.mend()
            # It has to wait: it is written down anew.
            until(lambda: spool.files(folder) not in ([path], []))
            assert shop.last.charged == estimate

        until(lambda: not spool.files(folder))
        path.write_bytes(again)
        until(lambda: not spool.files(folder))
        assert [(row.state, row.source, row.charged) for row in shop.usage] == [
            ("late", "provider", EXACT)
        ]
        assert [each.outcome for each in shop.attempts(shop.last.id)] == ["won"]
        assert (Alert.objects.count(), spool.waiting(folder).refused) == (0, 0)
        receipt = receipts.read(request_id=shop.last.id, workspace_id=shop.workspace.pk)
        told = receipts.describe(receipt)
        assert (told["total_cost"], told["estimated"]) == (Raw(b"0.000016"), False)
        assert told["corrected"]["source_before"] == "checkpoint"
        assert told["corrected"]["charge_before"]["usd"] == "0.000041"
        credits = httpx.get(
            f"{gateway.url}/v1/credits",
            headers={"authorization": f"Bearer {shop.secret}"},
            timeout=60,
            trust_env=False,
        )
        assert credits.json()["data"]["total_usage"] == 0.000016
        report = invariants.check(full=True)
        assert report.ok, report

    def test_that_the_provider_has_told_otherwise_is_put_before_staff(
        self,
        shop: Shop,
        gateway: GatewayServer,
        database: Relay,
        upstream: FakeUpstream,
        folder: Path,
        tmp_path: Path,
    ) -> None:
        Provider.objects.update(generation_lookup="sandbox")
        cut_in_flight(gateway, shop, upstream, database)
        told = {"tokens_prompt": 1, "tokens_completion": 1, "finished": True, "id": "x"}
        upstream.script(fake.answer({"data": told}), path="/generation")
        sweep_elsewhere(tmp_path, gateway, bytes=4, input_tokens=1, output_tokens=1)
        assert (shop.last.charged, shop.last.source) == (3_000, "lookup")

        database.mend()
        until(lambda: not spool.files(folder))

        (alert,) = Alert.objects.all()
        assert (alert.kind, alert.subject) == (
            "settlement.refused",
            ids.form("req_", shop.last.id),
        )
        assert alert.facts["settled_usd"] == "0.000016"
        assert alert.facts["booked_units"] == 3_000
        assert spool.waiting(folder).refused == 1
        assert shop.last.charged == 3_000
        assert invariants.check().ok

    def test_is_retried_from_memory_where_the_disk_fails_too(
        self,
        shop: Shop,
        gateway: GatewayServer,
        database: Relay,
        upstream: FakeUpstream,
        folder: Path,
    ) -> None:
        folder.write_text("This is no folder.")
        answer = cut_in_flight(gateway, shop, upstream, database)
        assert answer.status_code == 200

        database.mend()

        until(lambda: not Hold.objects.exists())
        assert [(row.state, row.charged) for row in shop.usage] == [("settled", EXACT)]


class TestCelery:
    def test_down_is_noticed_by_no_caller_and_sweeps_wait_for_it(self, shop: Shop) -> None:
        left = customer(usd=1000)
        left.hold(100)
        with GatewayServer() as gateway:
            assert call(gateway, shop).status_code == 200
            assert (
                httpx.get(f"{gateway.url}/readyz", timeout=30, trust_env=False).status_code == 200
            )
        assert [row.charged for row in shop.usage] == [EXACT]
        assert left.balance().held == 100

        with WorkerProcess():
            current_app.send_task("proxy.tasks.sweep")
            until(lambda: left.balance().held == 0)


class TestAProvider:
    def test_down_is_made_up_for_by_others_and_soon_asked_no_more(
        self, shop: Shop, provider: Provider, add_model: AddModel
    ) -> None:
        gone = make_provider("gone", f"http://127.0.0.1:{free_port()}/v1")
        add_model("test/two", rates=Rates(prompt=1_000_000), providers=(gone, provider))

        with GatewayServer() as gateway:
            answers = [call(gateway, shop, "test/two") for _ in range(FAILURES + 2)]

        assert {answer.status_code for answer in answers} == {200}
        tries = [answer.headers["x-tollgate-attempts"] for answer in answers]
        assert tries == ["2"] * FAILURES + ["1"] * 2
        outcomes = [[a.outcome for a in shop.attempts(row.id)] for row in shop.usage]
        assert outcomes == [["lost", "won"]] * FAILURES + [["won"]] * 2
        assert len({row.charged for row in shop.usage}) == 1
