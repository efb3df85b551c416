"""A provider at its own limit is passed by; its limits hold over all processes."""

from __future__ import annotations

import threading

import httpx
import pytest
from django.test import override_settings

from billing.pricing import Rates
from proxy.models import Provider
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, hello, make_provider, request_id

CHAT = "/v1/chat/completions"
NOBODY = "redis://127.0.0.1:9/0"


@pytest.fixture
def two(shop: Shop, provider: Provider, add_model: AddModel, upstream: FakeUpstream) -> Provider:
    """``test/two``, served by ``limited`` first and by ``first`` second."""
    limited = make_provider("limited", upstream.base_url)
    add_model("test/two", rates=Rates(prompt=1), providers=(limited, provider))
    add_model("test/one", rates=Rates(prompt=1), providers=(limited,))
    return limited


def providers(client: httpx.Client, count: int) -> list[str]:
    answers = [client.post(CHAT, json=hello("test/two")) for _ in range(count)]
    return [answer.headers["x-tollgate-provider"] for answer in answers]


class TestRequestsPerMinute:
    @pytest.mark.parametrize("url", [None, NOBODY])
    def test_the_next_route_is_tried_beyond_them(
        self, shop: Shop, two: Provider, url: str | None
    ) -> None:
        Provider.objects.filter(pk=two.pk).update(rpm=2)
        with override_settings(**({"REDIS_URL": url} if url else {})), GatewayServer() as gateway:
            with gateway.client(shop.secret) as client:
                assert providers(client, 4) == ["limited", "limited", "first", "first"]
                last = client.post(CHAT, json=hello("test/two"))
        lost, won = shop.attempts(request_id(last))
        assert (lost.provider, lost.outcome, lost.cause) == ("limited", "lost", "provider_rpm")
        assert (won.provider, won.outcome) == ("first", "won")

    def test_are_shared_by_all_processes(self, shop: Shop, two: Provider) -> None:
        Provider.objects.filter(pk=two.pk).update(rpm=2)
        with (
            GatewayServer() as one,
            GatewayServer() as other,
            one.client(shop.secret) as here,
            other.client(shop.secret) as there,
        ):
            assert providers(here, 1) + providers(there, 2) == ["limited", "limited", "first"]

    def test_without_another_route_it_is_a_502_that_costs_nothing(
        self, shop: Shop, two: Provider, upstream: FakeUpstream
    ) -> None:
        Provider.objects.filter(pk=two.pk).update(rpm=1)
        with GatewayServer() as gateway, gateway.client(shop.secret) as client:
            statuses = [client.post(CHAT, json=hello("test/one")).status_code for _ in range(2)]

        assert statuses == [200, 502]
        assert len(upstream.calls) == 1
        assert (shop.last.charged, shop.holds) == (0, 0)


class TestConcurrency:
    @pytest.mark.parametrize("url", [None, NOBODY])
    def test_the_next_route_is_tried_while_all_places_are_taken(
        self, shop: Shop, two: Provider, upstream: FakeUpstream, url: str | None
    ) -> None:
        Provider.objects.filter(pk=two.pk).update(concurrency=1)
        asked = threading.Event()
        head, role, word, *others = fake.stream(["a", "b"])
        upstream.script([head, role, word, fake.Gate(asked), *others], fake.completion())
        with override_settings(**({"REDIS_URL": url} if url else {})), GatewayServer() as gateway:
            with gateway.client(shop.secret) as client:
                body = hello("test/two", stream=True)
                with client.stream("POST", CHAT, json=body) as first:
                    parts = first.iter_raw()
                    next(parts)
                    assert first.headers["x-tollgate-provider"] == "limited"
                    assert providers(client, 2) == ["first", "first"]
                    asked.set()
                    assert b"[DONE]" in b"".join(parts)
                assert providers(client, 1) == ["limited"]
