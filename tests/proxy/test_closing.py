"""A gateway killed while a call was on a fallback: which route was it, and at what price?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from django.utils import timezone
from pytest_django import Settings

from billing import invariants, prices
from billing.models import Hold, Price
from billing.pricing import Rates
from proxy.models import Checkpoint, Provider, Route
from proxy.models import GatewayProcess as ProcessRow
from proxy.sweep import sweep
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, hello, make_provider

CHAT = "/v1/chat/completions"
# test/tokens costs $1 and $2 per million, the fallback five times as much.
DEAR = Rates(prompt=5_000_000, completion=10_000_000)
FOUND = {"tokens_prompt": 10, "tokens_completion": 3, "finished": True, "id": "x"}
FIRST_NANOS, SECOND_NANOS = 16_000, 80_000
SPOKEN = fake.event(fake.chunk({"role": "assistant", "content": "word " * 40}))


@pytest.fixture(autouse=True)
def _books(transactional_db: None) -> Iterator[None]:
    yield
    report = invariants.check()
    assert report.ok, report


@pytest.fixture
def other() -> Iterator[FakeUpstream]:
    """The provider of the fallback."""
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def second(shop: Shop, other: FakeUpstream, add_model: AddModel) -> Provider:
    """``test/second`` is served by a provider that does not serve ``test/tokens``."""
    provider = make_provider("second", other.base_url, generation_lookup="sandbox")
    Provider.objects.filter(slug="first").update(generation_lookup="sandbox")
    add_model("test/second", rates=DEAR, providers=(provider,))
    return provider


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_when(shop: Shop, ready: Callable[[], bool], settings: Settings, **fields: Any) -> None:
    """Call with a fallback, and let the gateway die when a moment has come."""
    settings.SILENT_AFTER_S = 0.01
    with GatewayProcess(CHECKPOINT_S="0.1") as gateway, ThreadPoolExecutor(1) as thread:
        thread.submit(post, gateway, shop.secret, **fields)
        until(ready)
        gateway.kill()
    ProcessRow.objects.update(stopped_at=timezone.now())
    time.sleep(0.05)
    assert shop.holds == 1


def post(gateway: GatewayProcess, secret: str, **fields: Any) -> None:
    body = hello(models=["test/second"], **fields)
    headers = {"authorization": f"Bearer {secret}"}
    with (
        suppress(httpx.TransportError),
        httpx.Client(base_url=gateway.url, timeout=30, trust_env=False) as client,
    ):
        client.post(CHAT, json=body, headers=headers)


def knows(upstream: FakeUpstream, **more: object) -> None:
    """Let a provider's lookup know the call."""
    upstream.script(fake.answer({"data": {**FOUND, **more}}), path="/generation")


def knows_nothing(upstream: FakeUpstream) -> None:
    upstream.script(fake.error(404), path="/generation")


class TestAFallbackAtAnotherProvider:
    def test_is_asked_and_charged_at_the_price_of_its_admission(
        self,
        shop: Shop,
        second: Provider,
        upstream: FakeUpstream,
        other: FakeUpstream,
        settings: Settings,
    ) -> None:
        upstream.script(fake.error(500), path="/chat/completions")
        other.script([fake.Stall()], path="/chat/completions")
        knows_nothing(upstream)
        knows(other, model="up-test/second")

        kill_when(shop, lambda: bool(other.calls), settings)
        then = Price.objects.get(subject="test/second", role="retail").pk
        prices.set_price(
            subject="test/second",
            role="retail",
            rates=Rates(prompt=9_000_000, completion=9_000_000),
            now=datetime.now(UTC),
        )
        sweep()

        assert (shop.last.state, shop.last.source) == ("settled", "lookup")
        assert (shop.last.provider, shop.last.served) == ("second", "test/second")
        assert (shop.last.charged, shop.last.price_id) == (SECOND_NANOS, then)
        assert {each.provider: each.outcome for each in shop.attempts(shop.last.id)} == {
            "first": "lost",
            "second": "won",
        }

    def test_is_charged_by_its_checkpoint_at_its_own_price(
        self,
        shop: Shop,
        second: Provider,
        upstream: FakeUpstream,
        other: FakeUpstream,
        settings: Settings,
    ) -> None:
        """The first provider counts tokens of its own that nobody was sent."""
        Provider.objects.filter(slug="second").update(generation_lookup="none")
        upstream.script(fake.error(500), path="/chat/completions")
        other.script([fake.STREAM_HEAD, SPOKEN, fake.Stall()], path="/chat/completions")
        knows(upstream, model="up-test/tokens", finished=False, cancelled=True)

        kill_when(shop, lambda: Checkpoint.objects.exists(), settings, stream=True)
        counted = Checkpoint.objects.get()
        sweep()

        assert (shop.last.source, shop.last.served) == ("checkpoint", "test/second")
        assert counted.output_tokens >= 40
        nanos = counted.input_tokens * 5_000 + counted.output_tokens * 10_000
        assert shop.last.charged == nanos <= shop.last.hold

    def test_that_cannot_be_asked_leaves_the_call_unknown_until_it_can(
        self,
        shop: Shop,
        second: Provider,
        upstream: FakeUpstream,
        other: FakeUpstream,
        settings: Settings,
    ) -> None:
        """The first provider's word, that it never arrived there, proves nothing."""
        Provider.objects.filter(slug="second").update(generation_lookup="none")
        upstream.script(fake.error(500), path="/chat/completions")
        other.script([fake.Stall()], path="/chat/completions")
        knows_nothing(upstream)
        knows(other, model="up-test/second")

        kill_when(shop, lambda: bool(other.calls), settings)
        sweep()
        first = (shop.last.state, shop.last.unknown, shop.last.charged)
        Provider.objects.filter(slug="second").update(generation_lookup="sandbox")
        sweep()

        assert first == ("expired", True, 0)
        assert (shop.last.state, shop.last.unknown) == ("late", False)
        assert (shop.last.charged, shop.last.served) == (SECOND_NANOS, "test/second")
        assert [each.outcome for each in shop.attempts(shop.last.id)] == ["lost", "won"]


class TestAFallbackAtTheSameProvider:
    @pytest.fixture
    def fallback(self, shop: Shop, provider: Provider, add_model: AddModel) -> None:
        Provider.objects.update(generation_lookup="sandbox")
        add_model("test/second", rates=DEAR, providers=(provider,))

    @pytest.mark.parametrize(
        ("named", "served", "nanos"),
        [
            ("up-test/second", "test/second", SECOND_NANOS),
            ("up-test/tokens", "test/tokens", FIRST_NANOS),
            # Nobody pays for what the provider does not tell.
            ("", "test/tokens", FIRST_NANOS),
        ],
    )
    def test_is_known_by_the_model_that_the_provider_names(
        self,
        shop: Shop,
        fallback: None,
        upstream: FakeUpstream,
        settings: Settings,
        named: str,
        served: str,
        nanos: int,
    ) -> None:
        upstream.script(fake.error(500), path="/chat/completions", model="up-test/tokens")
        upstream.script([fake.Stall()], path="/chat/completions", model="up-test/second")
        knows(upstream, model=named)

        kill_when(shop, lambda: len(upstream.calls) == 2, settings)
        sweep()

        assert (shop.last.served, shop.last.charged) == (served, nanos)

    def test_of_an_unknown_call_is_listed_and_then_cleared(
        self, shop: Shop, fallback: None, upstream: FakeUpstream, settings: Settings
    ) -> None:
        Provider.objects.update(generation_lookup="none")
        upstream.script([fake.Stall()], path="/chat/completions")
        knows(upstream, model="up-test/second")

        kill_when(shop, lambda: bool(upstream.calls), settings)
        sweep()
        unknown = {each.upstream_model: each.outcome for each in shop.attempts(shop.last.id)}
        Provider.objects.update(generation_lookup="sandbox")
        sweep()

        assert unknown == {"up-test/tokens": "unknown", "up-test/second": "unknown"}
        assert shop.last.charged == SECOND_NANOS
        (attempt,) = shop.attempts(shop.last.id)
        assert (attempt.upstream_model, attempt.outcome) == ("up-test/second", "won")


class TestWhatIsNotInPlay:
    def test_a_route_made_since_is_not_asked(
        self,
        shop: Shop,
        provider: Provider,
        upstream: FakeUpstream,
        other: FakeUpstream,
        settings: Settings,
    ) -> None:
        Provider.objects.update(generation_lookup="sandbox")
        upstream.script([fake.Stall()], path="/chat/completions")
        knows_nothing(upstream)
        with GatewayProcess() as gateway, ThreadPoolExecutor(1) as thread:
            thread.submit(post_one, gateway, shop.secret)
            until(lambda: bool(upstream.calls))
            gateway.kill()
        late = make_provider("late", other.base_url, generation_lookup="none")
        for route in Route.objects.filter(model__slug="test/tokens"):
            Route.objects.create(model=route.model, provider=late, upstream_model="x")
        settings.SILENT_AFTER_S = 0.01
        ProcessRow.objects.update(stopped_at=timezone.now())
        time.sleep(0.05)

        sweep()

        assert (shop.last.state, shop.last.reason) == ("voided", "never_arrived")

    def test_a_route_removed_since_proves_nothing(
        self, shop: Shop, second: Provider, upstream: FakeUpstream, settings: Settings
    ) -> None:
        upstream.script([fake.Stall()], path="/chat/completions")
        knows_nothing(upstream)

        kill_when(shop, lambda: bool(upstream.calls), settings)
        Route.objects.filter(model__slug="test/second").delete()
        sweep()

        assert (shop.last.state, shop.last.unknown) == ("expired", True)

    def test_a_hold_without_legs_may_have_gone_to_any_route_of_its_model(
        self, shop: Shop, second: Provider, upstream: FakeUpstream, settings: Settings
    ) -> None:
        upstream.script([fake.Stall()], path="/chat/completions")
        knows(upstream, model="up-test/tokens")

        kill_when(shop, lambda: bool(upstream.calls), settings)
        Hold.objects.update(legs="")
        sweep()

        assert (shop.last.served, shop.last.charged) == ("test/tokens", FIRST_NANOS)


def post_one(gateway: GatewayProcess, secret: str) -> None:
    headers = {"authorization": f"Bearer {secret}"}
    with (
        suppress(httpx.TransportError),
        httpx.Client(base_url=gateway.url, timeout=30, trust_env=False) as client,
    ):
        client.post(CHAT, json=hello(), headers=headers)
