"""The cheaper of two routes fails in each of ten ways: one good answer, one charge."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from django.test import override_settings

from billing import prices
from billing.pricing import Rates
from proxy.models import Provider, Route
from tests.fakes import upstream as fake
from tests.fakes.addresses import UNREACHABLE, Address
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import PAST, AddModel, Shop, hello, make_provider, request_id

CHAT = "/v1/chat/completions"
ROLE = fake.event(fake.chunk({"role": "assistant", "content": ""}))
ERROR = {"error": {"message": "Scripted failure.", "code": "boom"}}
# 10 tokens at $1 and 3 at $2 per million.
CHARGE_NANOS = 16_000


@contextmanager
def answering(reply: Callable[[bool], fake.Reply]) -> Iterator[str]:
    """Return the address of a provider that answers calls like this, streamed or not."""
    with FakeUpstream() as upstream:
        upstream.script(lambda call: reply(call.stream))
        yield upstream.url


def error_body(stream: bool) -> fake.Reply:
    return [fake.STREAM_HEAD, fake.event(ERROR)] if stream else fake.answer(ERROR)


def cut(stream: bool) -> fake.Reply:
    if stream:
        return [fake.STREAM_HEAD, ROLE, fake.Pause(0.02), fake.Cut()]
    return fake.cut_at(fake.completion(), 40)


def saying(reply: Callable[[bool], fake.Reply]) -> Address:
    """Return a way to fail: a provider that answers like this."""
    return lambda: answering(reply)


def status(code: int) -> Address:
    """Return a way to fail: a provider that answers with an error's status."""
    return saying(lambda stream: fake.error(code))


WAYS: dict[str, tuple[Address, str]] = {
    "refused": (UNREACHABLE["refused"], "connect_failed"),
    "dns": (UNREACHABLE["dns"], "connect_failed"),
    "connect timeout": (UNREACHABLE["connect timeout"], "connect_timeout"),
    "read timeout": (saying(lambda stream: fake.silence()), "read_timeout"),
    "408": (status(408), "http_408"),
    "429": (status(429), "http_429"),
    "500": (status(500), "http_500"),
    "503": (status(503), "http_503"),
    "200 with an error body": (saying(error_body), "error_in_body"),
    "cut before the first content": (saying(cut), "disconnected"),
}


def patience(way: str) -> override_settings:
    """Let the gateway wait for long but where that is the failure; the second has as long."""
    return override_settings(
        CONNECT_TIMEOUT_S=0.4 if way == "connect timeout" else 30,
        FIRST_BYTE_TIMEOUT_S=1 if way == "read timeout" else 30,
    )


@pytest.fixture
def dear(shop: Shop, provider: Provider, add_model: AddModel) -> Provider:
    """``test/two``: ``first`` works and costs us more than ``cheap``, which is added here."""
    cheap = make_provider("cheap", "http://127.0.0.1:9/v1")
    rates = Rates(prompt=1_000_000, completion=2_000_000)
    add_model("test/two", rates=rates, providers=(provider, cheap))
    for route in Route.objects.filter(model__slug="test/two"):
        cost = 100 if route.provider == cheap else 200
        prices.set_price(
            subject=route.subject, role="cost", rates=Rates(prompt=cost, completion=cost), now=PAST
        )
    return cheap


def text_of(response: httpx.Response, *, stream: bool) -> str:
    """Return what was answered."""
    if not stream:
        return str(response.json()["choices"][0]["message"]["content"])
    events = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(one) for one in events[:-1]]
    assert all("error" not in chunk for chunk in chunks)
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )


class TestTheCheaperRouteFails:
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize("way", WAYS)
    def test_one_good_answer_one_charge_all_attempts_listed(
        self, shop: Shop, dear: Provider, upstream: FakeUpstream, way: str, stream: bool
    ) -> None:
        failing, cause = WAYS[way]
        with failing() as address, patience(way):
            Provider.objects.filter(pk=dear.pk).update(base_url=f"{address}/v1")
            with GatewayServer() as gateway, gateway.client(shop.secret) as client:
                response = client.post(CHAT, json=hello("test/two", stream=stream))
                receipt = client.get(
                    "/v1/generation", params={"id": str(response.headers["x-request-id"])}
                )

        assert response.status_code == 200, response.text
        assert text_of(response, stream=stream) == "hello from upstream"
        assert response.headers["x-tollgate-provider"] == "first"
        assert response.headers["x-tollgate-attempts"] == "2"
        assert [row.charged for row in shop.usage] == [CHARGE_NANOS]
        assert shop.balance.total == 10_000_000_000 - CHARGE_NANOS
        assert (shop.balance.held, shop.holds, len(upstream.calls)) == (0, 0, 1)
        lost, won = shop.attempts(request_id(response))
        assert (lost.provider, lost.outcome, lost.cause) == ("cheap", "lost", cause)
        assert (won.provider, won.outcome) == ("first", "won")
        listed = [
            (attempt["provider"], attempt["outcome"], attempt["cause"])
            for attempt in receipt.json()["data"]["attempts"]
        ]
        assert listed == [("cheap", "lost", cause), ("first", "won", None)]

    def test_there_are_ten_ways(self) -> None:
        assert len(WAYS) == 10


class TestOneModelUnderTwoNames:
    def test_is_tried_once(self, client: httpx.Client, shop: Shop, upstream: FakeUpstream) -> None:
        upstream.script(fake.error(500))

        response = client.post("/v1/chat/completions", json=hello("tokens", models=["test/tokens"]))

        assert response.status_code == 502
        assert len(upstream.calls) == 1
