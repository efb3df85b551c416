"""Our days against providers' own word on them, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.core import mail
from django.db import connection, connections
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from billing import notices, prices
from billing.models import Alert
from billing.pricing import Rates
from common import ids
from proxy import reconciliation, tasks
from proxy.costreports import base
from proxy.models import Model, Provider, ProviderReport, Route, TaskHeartbeat
from tests import staffing
from tests.fakes.sandbox import TOKEN, SandboxServer
from tests.fakes.upstream import FakeUpstream, Stall, answer, error
from tests.proxy.conftest import PAST

pytestmark = pytest.mark.django_db

SLUG = "sandbox/lorem"
COST = Rates(prompt=1_000_000, completion=2_000_000)


def today() -> date:
    """The day by now: the run may have begun on the one before."""
    return datetime.now(UTC).date()


def yesterday() -> date:
    """The day before."""
    return today() - timedelta(days=1)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PAUSE_S", 0.0)


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(log_path=tmp_path / "calls.jsonl") as server:
        yield server


def add_provider(slug: str, url: str, report: str, **terms: Any) -> Provider:
    provider = Provider(slug=slug, kind="openai", base_url=f"{url}/v1", cost_report=report, **terms)
    provider.set_api_key(TOKEN)
    provider.set_cost_report_key("admin-key" if report == "openai" else "")
    provider.save()
    return provider


@pytest.fixture
def openai(db: None, upstream: FakeUpstream) -> Provider:
    return add_provider("openai", upstream.url, "openai")


@pytest.fixture
def ours(db: None, sandbox: SandboxServer) -> Provider:
    """The sandbox, with a route whose cost is known."""
    provider = add_provider("sandbox", sandbox.url, "sandbox")
    model = Model.objects.create(
        slug=SLUG,
        name=SLUG,
        owned_by="sandbox",
        kind="chat",
        context_length=8000,
        max_output_tokens=1000,
    )
    route = Route.objects.create(model=model, provider=provider, upstream_model=SLUG)
    prices.set_price(subject=route.subject, role="cost", rates=COST, now=PAST)
    return provider


def attempt(provider: Provider, *, cost: int, day: Any = None, **terms: Any) -> UUID:
    """One call of ours as it is written down."""
    row: dict[str, Any] = {
        "request_id": ids.request_id(),
        "day": day or yesterday(),
        "n": 1,
        "provider": provider.slug,
        "route_id": Route.objects.filter(provider=provider).values_list("pk", flat=True).first(),
        "upstream_model": SLUG,
        "upstream_id": "",
        "outcome": "won",
        "cost": cost,
    } | terms
    names = ", ".join(row)
    marks = ", ".join(["%s"] * len(row))
    with connection.cursor() as cursor:
        cursor.execute(
            f"insert into proxy_attempt ({names}) values ({marks})",  # noqa: S608 - fixed names
            list(row.values()),
        )
    found: UUID = row["request_id"]
    return found


def call(sandbox: SandboxServer, request_id: UUID, *, words: int = 5) -> None:
    """Call the sandbox as a gateway would: three words in, so many out."""
    httpx.post(
        f"{sandbox.url}/v1/chat/completions",
        json={
            "model": SLUG,
            "max_tokens": words,
            "messages": [{"role": "user", "content": "three words here"}],
        },
        headers={
            "authorization": f"Bearer {TOKEN}",
            "x-request-id": ids.form("req_", request_id),
        },
    ).raise_for_status()


def costs(usd: object) -> Any:
    """OpenAI's page of one day."""
    start = int(datetime.combine(yesterday(), datetime.min.time(), UTC).timestamp())
    result = {"amount": {"value": usd, "currency": "usd"}}
    return answer({"data": [{"start_time": start, "results": [result]}], "has_more": False})


class TestCompare:
    def test_a_day_on_which_both_agree(self, openai: Provider, upstream: FakeUpstream) -> None:
        upstream.script(costs(0.06))
        attempt(openai, cost=20_000_000)
        attempt(openai, cost=40_000_000, outcome="lost")
        attempt(openai, cost=7, day=today())
        report = reconciliation.compare(provider=openai, day=yesterday())
        assert (report.status, report.drift_percent) == ("ok", Decimal(0))
        assert (report.ours_nanos, report.theirs_nanos) == (60_000_000, 60_000_000)
        assert (report.ours_calls, report.theirs_calls) == (2, None)
        assert not Alert.objects.exists()

    @pytest.mark.parametrize(
        ("theirs", "status"), [(1.0, "ok"), (1.0101, "ok"), (1.0102, "drift"), (0.99, "drift")]
    )
    def test_drift_above_a_per_cent_is_told(
        self, openai: Provider, upstream: FakeUpstream, theirs: float, status: str
    ) -> None:
        upstream.script(costs(theirs))
        attempt(openai, cost=10**9)
        assert reconciliation.compare(provider=openai, day=yesterday()).status == status
        assert Alert.objects.filter(kind="provider.drift").exists() == (status == "drift")

    def test_a_bill_without_calls_of_ours_is_drift(
        self, openai: Provider, upstream: FakeUpstream
    ) -> None:
        upstream.script(costs(0.5))
        report = reconciliation.compare(provider=openai, day=yesterday())
        assert (report.status, report.drift_percent) == ("drift", Decimal(-100))

    def test_operators_get_one_mail_while_it_lasts(
        self, openai: Provider, upstream: FakeUpstream, settings: Settings
    ) -> None:
        settings.OPERATOR_EMAILS = ["ops@example.com"]
        attempt(openai, cost=10**9)
        for theirs in (2, 2, 1):
            upstream.script(costs(theirs))
            reconciliation.compare(provider=openai, day=yesterday())
            notices.deliver()
        [message] = mail.outbox
        assert message.subject == f"The bill of openai {yesterday()} drifts from ours"
        assert "drift_percent: -50.0000" in message.body
        assert not Alert.objects.filter(closed_at=None).exists()

    def test_a_report_that_cannot_be_had_is_never_fine(
        self, openai: Provider, upstream: FakeUpstream
    ) -> None:
        upstream.script(error(401))
        attempt(openai, cost=10**9)
        reconciliation.compare(provider=openai, day=yesterday())
        report = ProviderReport.objects.get()
        assert (report.status, report.theirs_nanos) == ("unavailable", None)
        assert "401" in report.problem
        assert Alert.objects.get().kind == "provider.unavailable"

    def test_what_was_measured_stays_when_it_cannot_be_measured_again(
        self, openai: Provider, upstream: FakeUpstream
    ) -> None:
        upstream.script(costs(0))
        reconciliation.compare(provider=openai, day=yesterday())
        upstream.script(error(500))
        assert reconciliation.compare(provider=openai, day=yesterday()).status == "unavailable"
        assert ProviderReport.objects.get().status == "ok"
        assert Alert.objects.filter(kind="provider.unavailable", closed_at=None).exists()

    def test_without_an_admin_key_openai_is_not_asked(
        self, openai: Provider, upstream: FakeUpstream
    ) -> None:
        openai.set_cost_report_key("")
        openai.save()
        report = reconciliation.compare(provider=openai, day=yesterday())
        assert (report.status, upstream.calls) == ("unavailable", [])
        assert "cost_report_key_env" in report.problem

    def test_a_later_word_replaces_an_earlier_one(
        self, openai: Provider, upstream: FakeUpstream
    ) -> None:
        attempt(openai, cost=10**9)
        for theirs in (0.5, 1):
            upstream.script(costs(theirs))
            reconciliation.compare(provider=openai, day=yesterday())
        report = ProviderReport.objects.get()
        assert (report.status, report.theirs_nanos) == ("ok", 10**9)

    def test_a_provider_that_never_ends_is_given_up(
        self, openai: Provider, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconciliation, "MOST_S", 0.2)
        upstream.script([Stall()])
        report = reconciliation.compare(provider=openai, day=yesterday())
        assert (report.status, "did not come" in report.problem) == ("unavailable", True)

    def test_openrouter_is_asked_for_each_generation(self, upstream: FakeUpstream) -> None:
        provider = add_provider("router", upstream.url, "openrouter")
        upstream.script(answer({"data": {"total_cost": 0.25}}), path="/generation")
        attempt(provider, cost=250_000_000, upstream_id="gen-1")
        attempt(provider, cost=5)
        report = reconciliation.compare(provider=provider, day=yesterday())
        assert (report.status, report.ours_calls, report.theirs_nanos) == ("ok", 1, 250_000_000)

    @pytest.mark.django_db(transaction=True)
    def test_two_at_once_write_one_row(self, openai: Provider, upstream: FakeUpstream) -> None:
        upstream.script(costs(2))
        attempt(openai, cost=10**9)

        def compare(_: int) -> str:
            try:
                return reconciliation.compare(provider=openai, day=yesterday()).status
            finally:
                connections["default"].close()

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(compare, range(4))) == {"drift"}
        assert ProviderReport.objects.count() == 1
        assert Alert.objects.count() == 1


class TestSandbox:
    def test_each_call_is_found_and_costs_the_same(
        self, ours: Provider, sandbox: SandboxServer
    ) -> None:
        call(sandbox, attempt(ours, cost=3 * 1000 + 5 * 2000, day=today()))
        report = reconciliation.compare(provider=ours, day=today())
        assert (report.status, report.drift_percent) == ("ok", Decimal(0))
        assert (report.ours_calls, report.theirs_calls) == (1, 1)
        assert report.theirs_nanos == 13_000

    def test_counts_that_differ_are_drift(self, ours: Provider, sandbox: SandboxServer) -> None:
        call(sandbox, attempt(ours, cost=6_500, day=today()))
        report = reconciliation.compare(provider=ours, day=today())
        assert (report.status, report.drift_percent) == ("drift", Decimal(-50))

    def test_calls_missing_on_either_side_are_drift(
        self, ours: Provider, sandbox: SandboxServer
    ) -> None:
        call(sandbox, ids.request_id())
        attempt(ours, cost=13_000, day=today())
        attempt(ours, cost=0, day=today(), outcome="lost")
        report = reconciliation.compare(provider=ours, day=today())
        assert (report.status, report.missing_ours, report.missing_theirs) == ("drift", 1, 1)


class TestReconcile:
    def test_the_last_days_of_all_who_report(
        self, openai: Provider, upstream: FakeUpstream
    ) -> None:
        add_provider("silent", upstream.url, "none")
        upstream.script(costs(0))
        reports = reconciliation.reconcile(today=today())
        days = [today() - timedelta(days=back) for back in (3, 2, 1)]
        assert [(each.provider.slug, each.day) for each in reports] == [
            ("openai", day) for day in days
        ]

    def test_the_task_leaves_its_proof(self, openai: Provider, upstream: FakeUpstream) -> None:
        upstream.script(costs(0))
        tasks.reconcile_providers()
        tasks.reconcile_providers()
        assert ProviderReport.objects.count() == 3
        report = TaskHeartbeat.objects.get(name="reconcile_providers").report
        assert report[f"openai {yesterday()}"] == "ok"


class TestDriftPercent:
    @pytest.mark.parametrize(
        ("ours", "theirs", "percent"),
        [
            (0, 0, "0"),
            (1, 0, "100"),
            (0, 1, "-100"),
            (99, 100, "-1.0000"),
            (101, 100, "1.0000"),
            (10**18, 1, "10000000.0000"),
        ],
    )
    def test_it_is_ours_less_theirs_in_hundredths_of_theirs(
        self, ours: int, theirs: int, percent: str
    ) -> None:
        assert reconciliation.drift_percent(ours=ours, theirs=theirs) == Decimal(percent)


class TestReportPage:
    def test_staff_see_the_drift_and_narrow_it_down(
        self, openai: Provider, upstream: FakeUpstream
    ) -> None:
        client = Client()
        upstream.script(costs(2))
        attempt(openai, cost=10**9)
        reconciliation.compare(provider=openai, day=yesterday())
        staffing.sign_in(client, User.objects.create_superuser("staff@example.com", "x"))
        page = client.get("/admin/proxy/providerreport/").content.decode()
        assert "-50.0000" in page
        assert "2.000000" in page
        narrowed = client.get("/admin/proxy/providerreport/?status__exact=ok").content.decode()
        assert "-50.0000" not in narrowed
