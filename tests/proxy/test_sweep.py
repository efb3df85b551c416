from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.db import connection
from pytest_django import Settings

from billing import grants, ledger, prices
from billing.models import Hold, KeyMeter, Price
from billing.pricing import Rates
from common import ids
from proxy.models import Checkpoint, GatewayProcess, Model, Provider, Route
from proxy.sweep import Report, sweep
from tests import pages
from tests.fakes import upstream as fake
from tests.fakes.sandbox import TOKEN, SandboxServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import PAST, Shop

SLUG = "sandbox/lorem"
RATES = Rates(prompt=1_000_000, completion=2_000_000)
WORDS = [{"role": "user", "content": "three words here"}]
NOTHING = Report(settled=0, voided=0, unknown=0, pending=0)


def price_of(prompt: int, output: int) -> int:
    """What the model costs, in nano-dollars: $1 and $2 per million."""
    return prompt * 1000 + output * 2000


@pytest.fixture(autouse=True)
def _impatient(settings: Settings) -> None:
    settings.SILENT_AFTER_S = 0.01


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


@pytest.fixture
def sandbox(log_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(log_path=log_path) as server:
        yield server


def add_provider(slug: str, url: str, **terms: Any) -> Provider:
    provider = Provider(slug=slug, kind="sandbox", base_url=f"{url}/v1", **terms)
    provider.set_api_key(TOKEN)
    provider.save()
    return provider


@pytest.fixture
def provider(transactional_db: None, sandbox: SandboxServer) -> Provider:
    return add_provider("sandbox", sandbox.url, generation_lookup="sandbox")


@pytest.fixture
def model(shop: Shop, provider: Provider) -> Model:
    model = Model.objects.create(
        slug=SLUG,
        name=SLUG,
        owned_by="sandbox",
        kind="chat",
        context_length=8000,
        max_output_tokens=1000,
    )
    prices.set_price(subject=SLUG, role="retail", rates=RATES, now=PAST)
    Route.objects.create(model=model, provider=provider, upstream_model=SLUG)
    return model


@pytest.fixture
def process(transactional_db: None) -> GatewayProcess:
    """A gateway that has been silent for a minute."""
    minute_ago = datetime.now(UTC) - timedelta(minutes=1)
    return GatewayProcess.objects.create(hostname="h", pid=1, heartbeat_at=minute_ago)


Take = Callable[..., UUID]


@pytest.fixture
def take(shop: Shop, model: Model, process: GatewayProcess) -> Take:
    """Admit a call of the dead gateway's and return its id."""
    ledger.open_meter(key_id=shop.key.pk)

    def take(amount: int = 10_000_000, asset: str = "USD", unit: int = 1, ttl: int = 660) -> UUID:
        accounts = ledger.open_accounts(workspace_id=shop.workspace.pk)
        shop.key.refresh_from_db()
        request_id = pages.next_id()
        item = {
            "id": str(request_id),
            "account": accounts.usd_id if asset == "USD" else accounts.tok_id,
            "usd_account": accounts.usd_id,
            "workspace": shop.workspace.pk,
            "key": shop.key.pk,
            "version": shop.key.version,
            "want": amount,
            "need": amount,
            "unit": unit,
            "ttl": ttl,
            "process": process.pk,
            "model": SLUG,
            "price": Price.objects.get(subject=SLUG, role="retail").pk,
            "surface": "responses",
            "stream": True,
        }
        with connection.cursor() as cursor:
            cursor.execute(ledger.ADMIT, [json.dumps([item]), False])
            assert json.loads(cursor.fetchone()[0])[0]["v"] == "ok"
        return request_id

    return take


def call(
    sandbox: SandboxServer, request_id: UUID, *, words: int = 5, leave_after: int = 0, **knobs: Any
) -> None:
    """Call the sandbox as a gateway would; ``leave_after`` so many words, hang up."""
    request = {
        "model": SLUG,
        "messages": WORDS,
        "stream": True,
        "max_tokens": words,
        "sandbox": knobs,
    }
    headers = {
        "authorization": f"Bearer {TOKEN}",
        "x-request-id": ids.form("chatcmpl-", request_id),
    }
    url = f"{sandbox.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=request, headers=headers, timeout=60) as response:
        seen = -1
        for line in response.iter_lines():
            seen += '"content"' in line
            if leave_after and seen == leave_after:
                break


class TestEvidence:
    def test_a_finished_call_is_charged_from_its_lookup(
        self, shop: Shop, sandbox: SandboxServer, take: Take
    ) -> None:
        before = shop.balance.total
        request_id = take()
        call(sandbox, request_id, words=7)
        assert sweep() == Report(settled=1, voided=0, unknown=0, pending=0)
        usage = shop.last
        assert (usage.state, usage.source, usage.unknown) == ("settled", "lookup", False)
        assert (usage.input_tokens, usage.output_tokens, usage.cancelled) == (3, 7, False)
        assert usage.cost == usage.charged == price_of(3, 7)
        assert (usage.provider, usage.served, usage.reason) == ("sandbox", SLUG, "swept")
        assert (usage.surface, usage.stream) == ("responses", True)
        assert shop.balance.total == before - price_of(3, 7)
        assert shop.balance.held == 0
        (attempt,) = shop.attempts(request_id)
        assert (attempt.outcome, attempt.cause) == ("won", "lookup_found")
        assert attempt.upstream_model == SLUG

    def test_a_call_cut_in_the_middle_is_charged_for_what_was_made(
        self, shop: Shop, sandbox: SandboxServer, take: Take
    ) -> None:
        call(sandbox, take(), words=500, leave_after=3, chunk_delay_ms=20)
        made = sandbox.ends()[-1]["completion_tokens"]
        assert sweep().settled == 1
        assert shop.last.output_tokens == made < 500
        assert shop.last.charged == price_of(3, made)
        assert shop.last.cancelled

    def test_a_call_that_never_arrived_is_void(self, shop: Shop, take: Take) -> None:
        before = shop.balance.total
        request_id = take()
        assert sweep() == Report(settled=0, voided=1, unknown=0, pending=0)
        assert (shop.last.state, shop.last.reason) == ("voided", "never_arrived")
        assert (shop.last.surface, shop.last.stream) == ("responses", True)
        assert shop.balance.available == before
        assert shop.attempts(request_id)[0].cause == "lookup_absent"

    def test_a_call_without_content_or_end_costs_nothing(
        self, shop: Shop, sandbox: SandboxServer, take: Take
    ) -> None:
        request_id = take()
        with suppress(httpx.RemoteProtocolError):
            call(sandbox, request_id, fail="cut")
        sandbox.ends()
        assert sweep().voided == 1
        assert (shop.last.reason, shop.last.charged) == ("no_output", 0)

    def test_a_running_call_waits(self, shop: Shop, sandbox: SandboxServer, take: Take) -> None:
        request_id = take()
        with (
            ThreadPoolExecutor(1) as other,
            suppress(httpx.ReadTimeout),
        ):
            other.submit(call, sandbox, request_id, words=2, chunk_delay_ms=1500)
            while not sandbox.lines():
                pass
            assert sweep() == Report(settled=0, voided=0, unknown=0, pending=1)
        sandbox.ends()
        assert sweep() == Report(settled=1, voided=0, unknown=0, pending=0)

    def test_a_checkpoint_is_second_best_and_never_above_the_hold(
        self, shop: Shop, process: GatewayProcess, provider: Provider, take: Take
    ) -> None:
        Provider.objects.update(generation_lookup="none")
        modest, greedy = take(), take(amount=price_of(3, 10))
        for request_id, output in ((modest, 4), (greedy, 1_000)):
            Checkpoint.objects.create(
                request_id=request_id,
                process_id=process.pk,
                provider=provider.slug,
                route_id=Route.objects.get(model__slug=SLUG).pk,
                input_tokens=3,
                output_tokens=output,
                bytes=output * 4,
            )
        assert sweep() == Report(settled=2, voided=0, unknown=0, pending=0)
        first, second = shop.usage
        assert [first.source, second.source] == ["checkpoint", "checkpoint"]
        assert first.charged == price_of(3, 4)
        assert (second.charged, second.output_tokens, second.uncollected) == (
            price_of(3, 10),
            10,
            0,
        )
        assert not Checkpoint.objects.exists()
        assert shop.attempts(modest)[0].cause == "checkpoint"

    def test_with_no_evidence_it_is_free_and_listed_as_unknown(
        self, shop: Shop, take: Take, tmp_path: Path
    ) -> None:
        request_id = take()
        with SandboxServer(log_path=tmp_path / "other", lookup=False) as dumb:
            Provider.objects.update(base_url=f"{dumb.url}/v1")
            assert sweep() == Report(settled=0, voided=0, unknown=1, pending=0)
        assert (shop.last.state, shop.last.unknown, shop.last.charged) == ("expired", True, 0)
        assert shop.attempts(request_id)[0].outcome == "unknown"

    def test_late_evidence_is_charged_once(
        self, shop: Shop, sandbox: SandboxServer, take: Take
    ) -> None:
        request_id = take()
        call(sandbox, request_id, words=6)
        Provider.objects.filter(slug="sandbox").update(generation_lookup="none")
        assert sweep().unknown == 1
        Provider.objects.filter(slug="sandbox").update(generation_lookup="sandbox")
        assert sweep().settled == 1
        assert (shop.last.state, shop.last.unknown) == ("late", False)
        assert shop.last.charged == price_of(3, 6)
        assert [attempt.outcome for attempt in shop.attempts(request_id)] == ["won"]
        assert sweep() == NOTHING

    def test_a_model_that_was_removed_leaves_no_evidence(self, shop: Shop, take: Take) -> None:
        take()
        Route.objects.all().delete()
        assert sweep().unknown == 1


class TestSeveralProviders:
    def test_the_provider_that_answered_is_paid_and_the_other_was_lost(
        self, shop: Shop, sandbox: SandboxServer, model: Model, take: Take, tmp_path: Path
    ) -> None:
        with SandboxServer(log_path=tmp_path / "other") as other:
            second = add_provider("second", other.url, generation_lookup="sandbox")
            Route.objects.create(model=model, provider=second, upstream_model=SLUG)
            request_id = take()
            with suppress(httpx.RemoteProtocolError):
                call(sandbox, request_id, fail="cut", after_chunks=2)
            call(other, request_id, words=4)
            sandbox.ends()
            assert sweep().settled == 1
        assert (shop.last.provider, shop.last.charged) == ("second", price_of(3, 4))
        outcomes = {attempt.provider: attempt.outcome for attempt in shop.attempts(request_id)}
        assert outcomes == {"second": "won", "sandbox": "lost"}

    def test_one_that_cannot_be_asked_leaves_the_call_unknown(
        self, shop: Shop, model: Model, take: Take
    ) -> None:
        mute = add_provider("mute", fake.unreachable_url(), generation_lookup="none")
        Route.objects.create(model=model, provider=mute, upstream_model="x")
        take()
        assert sweep().unknown == 1

    def test_a_routes_own_price_is_charged_and_its_cost_is_ours(
        self, shop: Shop, sandbox: SandboxServer, take: Take
    ) -> None:
        route = Route.objects.get(model__slug=SLUG)
        Route.objects.update(own_price=True)
        own = Rates(prompt=0, completion=5_000_000)
        prices.set_price(subject=route.subject, role="retail", rates=own, now=PAST)
        cost = Rates(prompt=0, completion=1_000_000)
        prices.set_price(subject=route.subject, role="cost", rates=cost, now=PAST)
        request_id = take()
        call(sandbox, request_id, words=2)
        sweep()
        assert (shop.last.charged, shop.last.upstream_cost) == (10_000, 2_000)
        assert shop.last.price_id == Price.objects.get(subject=route.subject, role="retail").pk
        assert shop.attempts(request_id)[0].cost == 2_000


class TestTrouble:
    def test_an_error_proves_nothing_for_ten_minutes(
        self, shop: Shop, take: Take, process: GatewayProcess, upstream: FakeUpstream
    ) -> None:
        upstream.script(fake.error(503), path="/generation")
        Provider.objects.filter(slug="sandbox").update(base_url=upstream.base_url)
        take()
        assert sweep() == Report(settled=0, voided=0, unknown=0, pending=1)
        long_ago = datetime.now(UTC) - timedelta(minutes=11)
        GatewayProcess.objects.filter(pk=process.pk).update(heartbeat_at=long_ago)
        with connection.cursor() as cursor:
            # The database of the tests has not been up for so long.
            cursor.execute("update billing_hold set process_id = 0, created_at = %s", [long_ago])
        assert sweep() == Report(settled=0, voided=0, unknown=1, pending=0)

    @pytest.mark.parametrize(
        "reply",
        [
            fake.error(401),
            fake.error(500),
            fake.hang_up(),
            fake.answer(b"not json"),
            fake.answer({"data": None}),
            fake.answer({"data": {"tokens_prompt": -1}}),
            fake.answer({"data": {"tokens_prompt": "3", "tokens_completion": 1}}),
        ],
    )
    def test_garbage_is_no_evidence(
        self, take: Take, upstream: FakeUpstream, reply: fake.Reply
    ) -> None:
        upstream.script(reply, path="/generation")
        Provider.objects.filter(slug="sandbox").update(base_url=upstream.base_url)
        take()
        assert sweep().pending == 1

    def test_a_provider_that_is_down_is_not_asked_for_ever(
        self, take: Take, upstream: FakeUpstream
    ) -> None:
        upstream.script(fake.error(500), path="/generation")
        Provider.objects.filter(slug="sandbox").update(base_url=upstream.base_url)
        for _ in range(60):
            take(amount=1000)
        assert sweep().pending == 60
        assert len(upstream.calls) < 30


class TestDue:
    def test_a_living_gateways_call_is_left_alone(
        self, shop: Shop, take: Take, process: GatewayProcess
    ) -> None:
        soon = datetime.now(UTC) + timedelta(minutes=1)
        GatewayProcess.objects.update(heartbeat_at=soon)
        take()
        assert sweep() == Report(settled=0, voided=0, unknown=0, pending=1)

    def test_a_gateway_that_said_goodbye_leaves_nothing(
        self, take: Take, process: GatewayProcess
    ) -> None:
        soon = datetime.now(UTC) + timedelta(minutes=1)
        GatewayProcess.objects.update(heartbeat_at=soon, stopped_at=datetime.now(UTC))
        take()
        assert sweep().voided == 1

    def test_a_hold_without_a_process_is_due(self, take: Take, process: GatewayProcess) -> None:
        take()
        GatewayProcess.objects.all().delete()
        assert sweep().voided == 1

    def test_a_hold_whose_time_is_over_is_due(self, take: Take) -> None:
        soon = datetime.now(UTC) + timedelta(minutes=1)
        GatewayProcess.objects.update(heartbeat_at=soon)
        take()
        Hold.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        assert sweep().voided == 1

    def test_a_database_that_just_came_back_gives_gateways_time(
        self, take: Take, settings: Settings
    ) -> None:
        settings.SILENT_AFTER_S = 10**6
        take()
        Hold.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        assert sweep().pending == 1


class TestSweep:
    def test_with_nothing_due_nothing_is_done(self, shop: Shop) -> None:
        assert sweep() == NOTHING

    def test_a_second_sweep_changes_nothing(
        self, shop: Shop, sandbox: SandboxServer, take: Take
    ) -> None:
        call(sandbox, take())
        take()
        sweep()
        before = shop.balance
        assert sweep() == NOTHING
        assert shop.balance == before

    def test_two_sweeps_at_once_close_each_call_once(
        self, shop: Shop, sandbox: SandboxServer, take: Take
    ) -> None:
        before = shop.balance.total
        for _ in range(30):
            call(sandbox, take(), words=2)

        def run(_: int) -> Report:
            try:
                return sweep()
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(run, range(2)))
        assert sum(report.settled for report in reports) == 30
        assert shop.balance.total == before - 30 * price_of(3, 2)
        assert shop.balance.held == 0
        assert KeyMeter.objects.get(key=shop.key).held == 0

    def test_a_call_paid_in_tokens_is_charged_in_tokens(
        self, shop: Shop, sandbox: SandboxServer, take: Take
    ) -> None:
        grants.grant(workspace=shop.workspace, asset="TOK", amount=300, reason="test")
        call(sandbox, take(amount=5, asset="TOK", unit=2_500_000))
        assert sweep().settled == 1
        assert (shop.last.asset, shop.last.charged) == ("TOK", 1)
