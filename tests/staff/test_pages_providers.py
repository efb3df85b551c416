from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.actors import Staff
from accounts.models import AuditEvent
from billing import prices
from billing.pricing import Rates
from common import ids
from proxy import breakers, provider_days, provider_health, trials
from proxy.models import Model, Provider, ProviderReport, Route, Trial
from proxy.upstreams.base import UpstreamTrouble
from tests.fakes.upstream import FakeUpstream, completion, error, garbage
from tests.pages import Inline, closed_request, home, make_key, person
from tests.staff.desk import clerk, desk, open_form, take

pytestmark = pytest.mark.django_db

SECRET = "upstream-very-secret"
PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def upstream_process() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(upstream_process: FakeUpstream) -> FakeUpstream:
    upstream_process.reset()
    return upstream_process


@pytest.fixture
def provider(upstream: FakeUpstream) -> Provider:
    return make("first", upstream.base_url)


@pytest.fixture
def staff() -> Client:
    return desk(clerk("proxy.view_provider", "proxy.change_provider", "proxy.add_provider"))


def make(slug: str, base_url: str, *, kind: str = "chat") -> Provider:
    """A provider with one model, which costs us $0.50 and $1 per million."""
    provider = Provider(slug=slug, kind="openai", base_url=base_url)
    provider.set_api_key(SECRET)
    provider.save()
    bounds = {"context_length": 8000, "max_output_tokens": 1000} if kind == "chat" else {}
    model = Model.objects.create(slug=f"{slug}/m", name="M", owned_by="tests", kind=kind, **bounds)
    route = Route.objects.create(model=model, provider=provider, upstream_model="up-m")
    rates = Rates(prompt=500_000, completion=1_000_000)
    prices.set_price(subject=route.subject, role="cost", rates=rates, now=PAST)
    return provider


def url(name: str, provider: Provider) -> str:
    return reverse(f"admin:proxy_provider_{name}", args=[provider.pk])


def attempt(slug: str, outcome: str = "won", *, ago_s: float = 0, latency_ms: int = 100) -> None:
    """An attempt some time ago."""
    request_id = ids.request_id()
    at = int((time.time() - ago_s) * 1000)
    older = type(request_id)(int=(at << 80) | (request_id.int & (1 << 80) - 1))
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into proxy_attempt (request_id, day, n, provider, upstream_model, outcome,"
            " latency_ms) values (%s, current_date, 1, %s, 'm', %s, %s)",
            [older, slug, outcome, latency_ms],
        )


class TestHealth:
    def test_the_last_hour_is_measured_and_older_hours_are_not(self) -> None:
        for latency_ms in (100, 200, 300):
            attempt("first", latency_ms=latency_ms)
        attempt("first", "lost", latency_ms=900)
        attempt("first", "lost", ago_s=3700, latency_ms=9000)
        health = provider_health.read(now=timezone.now())["first"]
        assert (health.calls, health.failed, health.error_rate) == (4, 1, 0.25)
        assert (health.median_ms, health.slow_ms) == (200, 900)
        assert isinstance(health.last_used, datetime)

    def test_what_rests_is_what_processes_told_each_other(self, redis_server: redis.Redis) -> None:
        now = time.time()
        redis_server.hset(breakers.HASH, "first up-m", f"{now + 60} 60.0")
        redis_server.hset(breakers.HASH, "second up-m", f"{now - 5} 60.0")
        redis_server.hset(breakers.HASH, "third up-m", f"{now - 5000} 60.0")
        found = provider_health.read(now=timezone.now())
        assert found["first"].state == "open"
        assert found["second"].state == "probing"
        assert "third" not in found

    def test_without_redis_nobody_knows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        away = redis.Redis(port=1, socket_connect_timeout=0.1, retry=Retry(NoBackoff(), 0))
        monkeypatch.setattr(provider_health, "client", lambda: away)
        attempt("first")
        assert provider_health.read(now=timezone.now())["first"].state == "unknown"

    def test_spend_is_that_of_calls_and_of_trials(self, provider: Provider) -> None:
        user = person("ada")
        closed_request(make_key(user), home(user), upstream_cost=700)
        Trial.objects.create(
            id=ids.request_id(), provider=provider, route_id=1, upstream_model="m",
            cost_nanos=50, reason="x", created_by=user,
        )  # fmt: skip
        spend = provider_health.read(now=timezone.now())["first"].spend
        assert (spend.today, spend.month, spend.trials) == (750, 750, 50)


class TestPages:
    def test_the_list_and_the_page_show_it_all_and_no_key(
        self, provider: Provider, staff: Client
    ) -> None:
        attempt("first", latency_ms=123)
        ProviderReport.objects.create(
            provider=provider, day=timezone.now().date() - timedelta(days=1), status="drift",
            ours_nanos=10**9, theirs_nanos=2 * 10**9, drift_percent="-50.0000", ours_calls=3,
            theirs_calls=6, fetched_at=timezone.now(),
        )  # fmt: skip
        listed = staff.get(reverse("admin:proxy_provider_changelist")).content.decode()
        assert "123 ms" in listed
        assert "-50.00 %" in listed
        page = staff.get(url("change", provider)).content.decode()
        assert "2.000000" in page
        assert "-50.0000" in page
        for text in (listed, page):
            assert SECRET not in text
            assert Inline(text).found == []


class TestTry:
    def test_it_makes_one_real_call_with_the_stored_key(
        self, provider: Provider, upstream: FakeUpstream, staff: Client
    ) -> None:
        form = open_form(staff, url("try", provider)) | {"reason": "A new key"}
        page = staff.post(url("try", provider), form, follow=True).content.decode()
        staff.post(url("try", provider), form, follow=True)
        [call] = upstream.calls
        assert call.model == "up-m"
        assert call.headers["authorization"] == f"Bearer {SECRET}"
        trial = Trial.objects.get()
        assert call.headers["x-request-id"] == ids.form("req_", trial.id)
        assert (trial.outcome, trial.estimate) == ("answered", False)
        assert trial.cost_nanos == trial.input_tokens * 500 + trial.output_tokens * 1000 > 0
        assert "Answered by up-m in" in page
        assert SECRET not in page
        written = AuditEvent.objects.get(action="provider.tried")
        assert written.after is not None
        assert written.after["reason"] == "A new key"

    def test_what_it_cost_is_on_the_provider_s_day(
        self, provider: Provider, upstream: FakeUpstream, staff: Client
    ) -> None:
        take(staff, url("try", provider))
        trial = Trial.objects.get()
        day = provider_days.of(slug="first", day=trial.at.astimezone(UTC).date())
        name = ids.form("req_", trial.id)
        assert day.calls[name].cost == trial.cost_nanos
        assert day.price(name, 10, 10, True) == 15_000

    @pytest.mark.parametrize(
        ("reply", "problem", "estimate"),
        [(error(401), "http_401", False), (garbage(), "garbage", True)],
    )
    def test_what_went_wrong_is_told_in_our_words(
        self, provider: Provider, upstream: FakeUpstream, staff: Client, reply: Any,
        problem: str, estimate: bool,
    ) -> None:  # fmt: skip
        upstream.script(reply)
        page = take(staff, url("try", provider)).content.decode()
        trial = Trial.objects.get()
        assert trial.outcome == "failed"
        assert problem in trial.problem
        assert (trial.estimate, trial.cost_nanos > 0) == (estimate, estimate)
        assert "No answer from up-m" in page

    def test_an_answer_without_usage_costs_the_worst_case_and_says_so(
        self, provider: Provider, upstream: FakeUpstream, staff: Client
    ) -> None:
        upstream.script(completion("OK", with_usage=False))
        page = take(staff, url("try", provider)).content.decode()
        trial = Trial.objects.get()
        assert trial.estimate
        assert trial.cost_nanos > 16 * 1000
        assert "an estimate" in page

    def test_nothing_is_sent_to_a_cloud_s_own_addresses(self, staff: Client) -> None:
        metadata = make("cloud", "http://169.254.169.254/latest")
        take(staff, url("try", metadata))
        assert "forbidden_address" in Trial.objects.get().problem

    def test_a_name_that_changes_its_mind_is_judged_where_it_is_connected_to(
        self, upstream: FakeUpstream, staff: Client
    ) -> None:
        port = urlsplit(upstream.base_url).port
        answers = [["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1"]]
        asked: list[str] = []

        def rebinding(host: str, _port: int) -> list[str]:
            asked.append(host)
            return answers[len(asked) - 1]

        rebound = make("rebound", f"http://models.example.com:{port}/v1")
        for problem in ("", "forbidden_address"):
            with transaction.atomic():
                Trial.objects.update(at=PAST)
                token = uuid.uuid4()
                trials.begin(
                    provider=rebound, reason="x", by=Staff(clerk(name=f"c{token}")), token=token
                )
            assert trials.make(token=token, resolve=rebinding).problem.partition(":")[0] == problem
        assert asked == ["models.example.com"] * 2
        [call] = upstream.calls
        assert call.headers["host"] == f"models.example.com:{port}"

    @pytest.mark.parametrize(
        "text",
        [
            *("169.254.169.254", "168.63.129.16", "100.100.100.200", "fe80::1%2", "fd00:ec2::254"),
            *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "::a9fe:a9fe"),
        ],
    )
    def test_a_cloud_s_own_address_is_known_in_every_spelling(self, text: str) -> None:
        with pytest.raises(UpstreamTrouble, match="forbidden_address"):
            trials.outside(["10.0.0.1", text])

    def test_a_provider_in_the_operator_s_own_network_is_reached(self) -> None:
        assert trials.outside(["10.0.0.1", "fd00::7"]) == ["10.0.0.1", "fd00::7"]

    def test_no_redirect_is_followed(
        self, provider: Provider, upstream: FakeUpstream, staff: Client
    ) -> None:
        upstream.script(error(302))
        take(staff, url("try", provider))
        assert len(upstream.calls) == 1
        assert Trial.objects.get().outcome == "failed"

    def test_once_in_a_while_is_enough(
        self,
        provider: Provider,
        upstream: FakeUpstream,
        staff: Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # However long the first takes.
        monkeypatch.setattr(trials, "PAUSE", timedelta(hours=1))
        first, second = (open_form(staff, url("try", provider)) for _ in range(2))
        staff.post(url("try", provider), first | {"reason": "A new key"})
        page = staff.post(url("try", provider), second | {"reason": "A new key"})
        assert "a moment ago" in page.content.decode()
        assert len(upstream.calls) == 1

    def test_a_provider_of_pictures_is_not_tried(self, staff: Client) -> None:
        painter = make("painter", "http://127.0.0.1:9/v1", kind="image")
        assert staff.get(url("try", painter)).status_code == 302
        assert not Trial.objects.exists()

    def test_a_look_makes_no_call(
        self, provider: Provider, upstream: FakeUpstream, staff: Client
    ) -> None:
        staff.get(url("try", provider))
        assert upstream.calls == []

    def test_it_takes_the_right_to_change_providers(
        self, provider: Provider, upstream: FakeUpstream
    ) -> None:
        looker = desk(clerk("proxy.view_provider", name="looker"))
        assert looker.post(url("try", provider), {"reason": "Mine"}).status_code == 403
        assert upstream.calls == []


class TestForm:
    FIELDS = {
        "slug": "first", "kind": "openai", "on_disconnect": "drain", "generation_lookup": "none",
        "cost_report": "none", "enabled": "on", "rpm": "", "concurrency": "",
        "reason": "A new contract",
    }  # fmt: skip

    def save(self, staff: Client, provider: Provider, **fields: str) -> Any:
        address = {"base_url": provider.base_url}
        form = open_form(staff, url("change", provider)) | self.FIELDS | address | fields
        return staff.post(url("change", provider), form)

    def test_a_key_is_set_sealed_and_never_shown(self, provider: Provider, staff: Client) -> None:
        answer = self.save(staff, provider, new_api_key="another-secret")
        assert answer.status_code == 302
        provider.refresh_from_db()
        assert provider.api_key() == "another-secret"
        assert "another-secret" not in staff.get(url("change", provider)).content.decode()
        after = AuditEvent.objects.get(action="provider.changed").after
        assert after is not None
        assert (after["new_api_key"], after["reason"]) == ("set", "A new contract")
        assert "another-secret" not in str(after)

    def test_a_change_is_written_down_before_and_after(
        self, provider: Provider, staff: Client
    ) -> None:
        self.save(staff, provider, rpm="5")
        provider.refresh_from_db()
        assert (provider.rpm, provider.api_key()) == (5, SECRET)
        written = AuditEvent.objects.get(action="provider.changed")
        assert written.before is not None
        assert written.after is not None
        assert (written.before["rpm"], written.after["rpm"]) == (None, 5)

    def test_a_stored_key_is_sent_to_no_other_address(
        self, provider: Provider, staff: Client
    ) -> None:
        page = self.save(staff, provider, base_url="https://evil.example/v1")
        assert "Another address needs its key again" in page.content.decode()
        provider.refresh_from_db()
        assert "evil" not in provider.base_url
        self.save(staff, provider, base_url="https://good.example/v1", new_api_key="theirs")
        provider.refresh_from_db()
        assert (provider.base_url, provider.api_key()) == ("https://good.example/v1", "theirs")

    @pytest.mark.parametrize(
        "address", ["ftp://a.example/v1", "https://u:p@a.example/v1", "https://a.example/?x=1"]
    )
    def test_an_address_is_plain(self, provider: Provider, staff: Client, address: str) -> None:
        assert self.save(staff, provider, base_url=address).status_code == 200
        provider.refresh_from_db()
        assert provider.base_url != address

    def test_no_reason_no_change(self, provider: Provider, staff: Client) -> None:
        assert self.save(staff, provider, rpm="5", reason="").status_code == 200
        provider.refresh_from_db()
        assert provider.rpm is None

    def test_nobody_writes_over_what_somebody_else_changed(
        self, provider: Provider, staff: Client
    ) -> None:
        form = open_form(staff, url("change", provider)) | self.FIELDS
        Provider.objects.filter(pk=provider.pk).update(concurrency=7)
        page = staff.post(
            url("change", provider), form | {"base_url": provider.base_url, "rpm": "5"}
        )
        assert "changed since you read it" in page.content.decode()
        provider.refresh_from_db()
        assert (provider.rpm, provider.concurrency) == (None, 7)

    def test_one_is_added_with_a_reason(self, staff: Client) -> None:
        form = self.FIELDS | {"base_url": "https://a.example/v1", "new_api_key": "theirs"}
        assert staff.post(reverse("admin:proxy_provider_add"), form).status_code == 302
        assert Provider.objects.get().api_key() == "theirs"
        assert AuditEvent.objects.filter(action="provider.added").count() == 1
