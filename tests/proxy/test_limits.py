"""Requests per minute: exact in Redis, a share per process without it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from django.test import override_settings

from common.errors import ApiError
from proxy.limits import Limiter, duration
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello


class TestTheHeaders:
    def test_count_down_and_say_when_to_come_back(self, gateway: GatewayServer, shop: Shop) -> None:
        _, secret = shop.new_key(rpm=3)
        with gateway.client(secret) as client:
            responses = [client.post("/v1/chat/completions", json=hello()) for _ in range(4)]

        assert [r.status_code for r in responses] == [200, 200, 200, 429]
        left = [r.headers["x-ratelimit-remaining-requests"] for r in responses]
        assert left == ["2", "1", "0", "0"]
        refused = responses[-1]
        seconds = int(refused.headers["retry-after"])
        assert 1 <= seconds <= 20
        error = refused.json()["error"]
        assert error["type"] == "rate_limit_exceeded"
        assert error["message"] == f"Rate limit exceeded. Please retry after {seconds} seconds."
        assert re.fullmatch(r"\d+m?s|\d+m\d+s", refused.headers["x-ratelimit-reset-requests"])

    def test_a_refusal_for_money_or_shape_uses_no_slot(
        self, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        _, secret = shop.new_key(rpm=2)
        shop.take("10")
        with gateway.client(secret) as client:
            for _ in range(5):
                poor = client.post("/v1/chat/completions", json=hello("test/call"))
                assert poor.status_code == 402
                assert client.post("/v1/chat/completions", json={}).status_code == 400
            shop.fund("1")
            assert client.post("/v1/chat/completions", json=hello()).status_code == 200

    def test_zero_allows_nothing(self, gateway: GatewayServer, shop: Shop) -> None:
        _, secret = shop.new_key(rpm=0)
        with gateway.client(secret) as client:
            response = client.post("/v1/chat/completions", json=hello())

        assert response.json()["error"]["reason"] == "rate_limited"
        assert response.headers["x-should-retry"] == "false"


class TestWithoutRedis:
    def test_each_process_allows_its_share(self, shop: Shop) -> None:
        with override_settings(REDIS_URL="redis://127.0.0.1:9/0"), GatewayServer() as gateway:
            _, secret = shop.new_key(rpm=4)
            with gateway.client(secret) as client:
                responses = [client.post("/v1/chat/completions", json=hello()) for _ in range(5)]

        assert [r.status_code for r in responses] == [200, 200, 200, 200, 429]
        assert shop.balance.held == 0


def run(scenario: Callable[[Limiter], Awaitable[None]]) -> None:
    async def main() -> None:
        limiter = Limiter()
        limiter.start()
        try:
            await scenario(limiter)
        finally:
            await limiter.close()

    asyncio.run(main())


class TestLimiter:
    def test_lets_exactly_the_limit_through_at_once(self) -> None:
        async def scenario(limiter: Limiter) -> None:
            takes = [limiter.take(key_id=7, rpm=10) for _ in range(50)]
            results = await asyncio.gather(*takes, return_exceptions=True)
            assert sum(isinstance(one, dict) for one in results) == 10
            assert sum(isinstance(one, ApiError) for one in results) == 40

        run(scenario)

    def test_keys_do_not_share(self) -> None:
        async def scenario(limiter: Limiter) -> None:
            await limiter.take(key_id=1, rpm=1)
            await limiter.take(key_id=2, rpm=1)
            with pytest.raises(ApiError):
                await limiter.take(key_id=1, rpm=1)

        run(scenario)

    def test_a_flushed_redis_forgets_its_script_and_goes_on(self, redis_server: object) -> None:
        async def scenario(limiter: Limiter) -> None:
            await limiter.take(key_id=1, rpm=5)
            redis_server.script_flush()  # type: ignore[attr-defined]
            headers = await limiter.take(key_id=1, rpm=5)
            assert headers["x-ratelimit-remaining-requests"] == "3"

        run(scenario)


class TestDuration:
    @pytest.mark.parametrize(
        ("microseconds", "text"),
        [
            (0, "0ms"),
            (12_000, "12ms"),
            (1_000_000, "1s"),
            (59_000_001, "1m0s"),
            (360_000_000, "6m0s"),
        ],
    )
    def test_is_written_as_openai_does(self, microseconds: int, text: str) -> None:
        assert duration(microseconds) == text
