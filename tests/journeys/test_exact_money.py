"""Many callers, two gateway processes, one balance: not a nano-dollar more than there is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest

from accounts import keys
from accounts.models import Tier
from billing import invariants, limits
from billing.models import Account
from common import money
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, add_model, hello, provider, shop, upstream

__all__ = ["add_model", "provider", "shop", "upstream"]

Body = dict[str, object]
CENT = money.nanos_from_usd("0.01")


@pytest.fixture
def gateways(shop: Shop) -> Iterator[list[GatewayProcess]]:
    Tier.objects.update(default_rpm=1_000_000, max_rpm=1_000_000)
    with GatewayProcess() as one, GatewayProcess() as two:
        yield [one, two]


def storm(
    gateways: list[GatewayProcess], key: str, *, count: int, body: Body, patient: bool = False
) -> list[httpx.Response]:
    """
    Send requests at once, spread over the gateways; patient callers retry reserved money.

    Everybody retries a 503, as SDKs do: a busy machine's database may be slow to answer.
    """

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        while True:
            response = await client.post("/v1/chat/completions", json=body)
            reserved = patient and response.headers.get("x-should-retry") == "true"
            if response.status_code != 503 and not reserved:
                return response
            await asyncio.sleep(0.05)

    async def run() -> list[httpx.Response]:
        headers = {"authorization": f"Bearer {key}"}
        pool = httpx.Limits(max_connections=count)
        clients = [
            httpx.AsyncClient(
                base_url=each.url, headers=headers, timeout=60, limits=pool, trust_env=False
            )
            for each in gateways
        ]
        try:
            calls = (ask(clients[number % len(clients)]) for number in range(count))
            return list(await asyncio.gather(*calls))
        finally:
            for client in clients:
                await client.aclose()

    return asyncio.run(run())


def outcomes(responses: list[httpx.Response]) -> Counter[str]:
    """Count answers and reasons of refusal."""
    return Counter(
        "answer" if r.status_code == 200 else f"{r.status_code} {r.json()['error']['reason']}"
        for r in responses
    )


class Watch:
    """Looks again and again at what must hold at every moment."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.look = look
        self.looks = 0
        self.over = threading.Event()
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        from django.db import connection

        try:
            while not self.over.is_set():
                self.look()
                self.looks += 1
                time.sleep(0.01)
        except BaseException as error:
            self.error = error
        finally:
            connection.close()

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        if self.error is not None:
            raise self.error


def never_overdrawn(shop: Shop) -> Callable[[], None]:
    def look() -> None:
        for row in Account.objects.filter(workspace_id=shop.workspace.pk):
            assert row.credits_posted - row.debits_posted - row.debits_pending >= 0

    return look


class TestOneBalance:
    def test_of_100_calls_answers_exactly_100_of_500(
        self, shop: Shop, gateways: list[GatewayProcess], upstream: FakeUpstream
    ) -> None:
        shop.take("9")
        with Watch(never_overdrawn(shop)) as watch:
            responses = storm(gateways, shop.secret, count=500, body=hello("test/call"))

        counted = outcomes(responses)
        assert counted["answer"] == 100
        assert sum(n for what, n in counted.items() if what.startswith("402")) == 400
        assert shop.balance.total == 0
        assert shop.holds == 0
        assert len(upstream.calls) == 100
        assert len([row for row in shop.usage if row.charged == CENT]) == 100
        assert watch.looks > 3
        assert invariants.check().ok

    def test_priced_by_tokens_is_spent_to_less_than_one_hold(
        self, shop: Shop, gateways: list[GatewayProcess]
    ) -> None:
        shop.take("9.99")
        body = hello(max_tokens=500)
        with Watch(never_overdrawn(shop)):
            responses = storm(gateways, shop.secret, count=700, body=body, patient=True)

        counted = outcomes(responses)
        assert set(counted) == {"answer", "402 insufficient_balance"}
        charge = shop.usage[0].charged
        hold = max(row.hold for row in shop.usage)
        assert counted["answer"] * charge == CENT - shop.balance.total
        assert shop.balance.total < hold
        assert shop.holds == 0
        assert invariants.check().ok


class TestOneCap:
    def test_of_a_day_is_never_passed(
        self, shop: Shop, gateways: list[GatewayProcess], upstream: FakeUpstream
    ) -> None:
        limits.set_workspace_caps(
            by=None, workspace=shop.workspace, daily=50 * CENT, monthly=100 * CENT
        )
        responses = storm(gateways, shop.secret, count=200, body=hello("test/call"), patient=True)

        assert outcomes(responses) == {"answer": 50, "429 cap_reached": 150}
        refused = next(r for r in responses if r.status_code == 429)
        assert int(refused.headers["retry-after"]) <= 86_400
        assert refused.headers["x-should-retry"] == "false"
        assert len(upstream.calls) == 50
        assert shop.balance.total == money.nanos_from_usd("9.5")
        assert invariants.check().ok

    def test_of_a_key_is_never_passed(
        self, shop: Shop, gateways: list[GatewayProcess], upstream: FakeUpstream
    ) -> None:
        limits.set_key_caps(by=None, key=shop.key, daily=30 * CENT, monthly=None)
        responses = storm(gateways, shop.secret, count=100, body=hello("test/call"), patient=True)

        assert outcomes(responses) == {"answer": 30, "429 cap_reached": 70}
        assert len(upstream.calls) == 30


class TestADisabledKey:
    def test_is_refused_on_the_very_next_request_in_every_process(
        self, shop: Shop, gateways: list[GatewayProcess]
    ) -> None:
        clients = [
            httpx.Client(
                base_url=each.url,
                headers={"authorization": f"Bearer {shop.secret}"},
                timeout=60,
                trust_env=False,
            )
            for each in gateways
        ]
        for client in clients:
            assert client.post("/v1/chat/completions", json=hello()).status_code == 200
        keys.disable(key=shop.key, by=shop.user)

        for client in clients:
            paid = client.post("/v1/chat/completions", json=hello())
            free = client.get("/v1/models")
            client.close()
            for response in (paid, free):
                assert response.status_code == 401
                assert response.json()["error"]["reason"] == "key_disabled"
        assert shop.holds == 0
