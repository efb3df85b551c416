"""Circuit breakers: open after failures in a row, probe after a rest, known to all processes."""

from __future__ import annotations

import asyncio

import pytest
from django.conf import LazySettings
from redis import Redis

from billing.pricing import Rates
from common.redis import async_client
from proxy import breakers, models
from proxy.breakers import FAILURES, REST_S, Breakers
from proxy.catalogue import Provider, Route
from proxy.upstreams import trouble
from proxy.upstreams.base import UpstreamTrouble
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, hello, make_provider, request_id


class Clock:
    """The wall clock of one test."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(breakers, "time", clock)
    return clock


def route(slug: str = "first", upstream_model: str = "m") -> Route:
    provider = Provider(
        id=1,
        slug=slug,
        kind="openai",
        base_url="",
        api_key="",
        on_disconnect="cancel",
        generation_lookup="none",
        rpm=None,
        concurrency=None,
    )
    return Route(
        id=1,
        provider=provider,
        upstream_model=upstream_model,
        priority=0,
        max_stop=None,
        price_id=1,
        rates=Rates(),
        cost_price_id=None,
        cost_rates=Rates(),
    )


def opened(known: Breakers, way: Route) -> None:
    for _ in range(FAILURES):
        known.note(way, failed=True)


class TestBreakers:
    def test_open_after_failures_in_a_row(self, clock: Clock) -> None:
        known, way = Breakers(), route()
        for _ in range(FAILURES - 1):
            known.note(way, failed=True)
        known.note(way, failed=False)
        for _ in range(FAILURES - 1):
            known.note(way, failed=True)
        assert known.healthy(way)

        known.note(way, failed=True)

        assert not known.healthy(way)
        assert known.healthy(route("second"))
        assert known.healthy(route(upstream_model="other"))

    def test_let_one_call_probe_after_the_rest(self, clock: Clock) -> None:
        known, way = Breakers(), route()
        opened(known, way)
        clock.now += REST_S + 1

        assert known.healthy(way)
        known.begin(way)
        assert not known.healthy(way)
        known.note(way, failed=False)
        assert known.healthy(way)

    def test_rest_longer_after_a_probe_that_failed(self, clock: Clock) -> None:
        known, way = Breakers(), route()
        opened(known, way)
        clock.now += REST_S + 1
        known.begin(way)
        known.note(way, failed=True)

        clock.now += REST_S + 1
        assert not known.healthy(way)
        clock.now += REST_S
        assert known.healthy(way)

    def test_a_probe_that_never_ends_is_followed_by_another(self, clock: Clock) -> None:
        known, way = Breakers(), route()
        opened(known, way)
        clock.now += REST_S + 1
        known.begin(way)
        clock.now += breakers.PROBE_S + 1

        assert known.healthy(way)

    @pytest.mark.parametrize(
        ("judged", "fails"),
        [
            (trouble.failed("http_500", 500), True),
            (trouble.failed("http_401", 401), True),
            (trouble.failed("http_404", 404), True),
            (trouble.failed("http_429", 429), True),
            (trouble.garbage(), True),
            (trouble.error_in_body({"message": "no"}), True),
            (trouble.unreachable(OSError()), True),
            (trouble.refusal(400, b"bad"), False),
            (trouble.error_in_body({"code": "content_filter"}), False),
            (trouble.busy("provider_rpm"), False),
        ],
        ids=lambda value: getattr(value, "outcome", value),
    )
    def test_count_what_is_the_providers_fault(
        self, clock: Clock, judged: UpstreamTrouble, fails: bool
    ) -> None:
        known, way = Breakers(), route()
        for _ in range(FAILURES):
            known.judge(way, judged)

        assert known.healthy(way) is not fails

    def test_being_at_our_own_limit_says_nothing_of_health(self, clock: Clock) -> None:
        known, way = Breakers(), route()
        opened(known, way)

        known.judge(way, trouble.busy("provider_rpm"))

        assert not known.healthy(way)


def share(*all_known: Breakers) -> None:
    async def main() -> None:
        client = async_client()
        for known in all_known:
            await known.share(client)
        await client.aclose()

    asyncio.run(main())


class TestShare:
    def test_tells_the_others_what_opened_and_closed(
        self, redis_server: Redis, clock: Clock
    ) -> None:
        one, other, way = Breakers(), Breakers(), route()
        opened(one, way)
        share(one, other)
        assert not other.healthy(way)

        clock.now += REST_S + 1
        assert other.healthy(way)
        other.begin(way)
        other.note(way, failed=False)
        share(other, one)
        assert one.healthy(way)
        assert redis_server.hlen(breakers.HASH) == 0

    def test_a_failed_probe_of_another_opens_again_here(
        self, redis_server: Redis, clock: Clock
    ) -> None:
        one, other, way = Breakers(), Breakers(), route()
        opened(one, way)
        share(one, other)
        clock.now += REST_S + 1
        other.begin(way)
        other.note(way, failed=True)
        share(other, one)

        clock.now += REST_S
        assert not one.healthy(way)

    def test_goes_on_without_redis_and_tells_later(
        self, redis_server: Redis, clock: Clock, settings: LazySettings
    ) -> None:
        one, other, way = Breakers(), Breakers(), route()
        opened(one, way)
        url = settings.REDIS_URL
        settings.REDIS_URL = "redis://127.0.0.1:9/0"
        share(one)
        assert not one.healthy(way)
        settings.REDIS_URL = url
        share(one, other)

        assert not other.healthy(way)

    def test_forgets_routes_that_nobody_uses_any_more(
        self, redis_server: Redis, clock: Clock
    ) -> None:
        one, other, way = Breakers(), Breakers(), route()
        opened(one, way)
        share(one)
        clock.now += breakers.FORGET_AFTER_S + breakers.REST_S + 1
        share(other, other)

        assert redis_server.hlen(breakers.HASH) == 0


class TestAGateway:
    def test_passes_a_broken_provider_by_until_it_works_again(
        self,
        shop: Shop,
        upstream: FakeUpstream,
        provider: models.Provider,
        add_model: AddModel,
        clock: Clock,
    ) -> None:
        with FakeUpstream() as broken:
            broken.script(*[fake.error(500)] * FAILURES, fake.completion())
            first = make_provider("broken", broken.base_url)
            add_model("test/two", rates=Rates(prompt=1), providers=(first, provider))
            with GatewayServer() as gateway, gateway.client(shop.secret) as client:

                def post() -> str:
                    response = client.post("/v1/chat/completions", json=hello("test/two"))
                    return response.headers["x-tollgate-provider"]

                assert [post() for _ in range(FAILURES + 3)] == ["first"] * (FAILURES + 3)
                assert len(broken.calls) == FAILURES
                clock.now += REST_S + 1
                assert [post() for _ in range(2)] == ["broken"] * 2

    def test_does_not_try_a_route_that_rests_where_another_fails(
        self, shop: Shop, upstream: FakeUpstream, provider: models.Provider, add_model: AddModel
    ) -> None:
        with FakeUpstream() as broken:
            broken.script(fake.error(500))
            first = make_provider("broken", broken.base_url)
            add_model("test/two", rates=Rates(prompt=1), providers=(first, provider))
            with GatewayServer() as gateway, gateway.client(shop.secret) as client:
                for _ in range(FAILURES):
                    client.post("/v1/chat/completions", json=hello("test/two"))
                upstream.script(fake.error(503))
                refused = client.post("/v1/chat/completions", json=hello("test/two"))

        assert refused.status_code == 502
        assert len(broken.calls) == FAILURES
        assert [each.provider for each in shop.attempts(request_id(refused))] == ["first"]

    def test_where_all_rest_tries_the_one_that_rested_longest(
        self, shop: Shop, upstream: FakeUpstream, provider: models.Provider, add_model: AddModel
    ) -> None:
        with FakeUpstream() as broken:
            broken.script(fake.error(500))
            first = make_provider("broken", broken.base_url)
            add_model("test/two", rates=Rates(prompt=1), providers=(first, provider))
            upstream.script(*[fake.error(500)] * FAILURES, fake.completion())
            with GatewayServer() as gateway, gateway.client(shop.secret) as client:
                # "first" has failed five times before "broken" has: it rests longer.
                for name in ("first", "broken"):
                    body = hello("test/two", provider={"only": [name]})
                    for _ in range(FAILURES):
                        client.post("/v1/chat/completions", json=body)
                response = client.post("/v1/chat/completions", json=hello("test/two"))

        assert response.status_code == 200
        assert response.headers["x-tollgate-provider"] == "first"
        assert response.headers["x-tollgate-attempts"] == "1"
        assert len(broken.calls) == FAILURES
