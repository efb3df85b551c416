"""Requests, tokens and streams of a key: exact in Redis, a share per process without it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from django.test import override_settings

from proxy.limits import duration
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess, GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello

CHAT = "/v1/chat/completions"
NOBODY = "redis://127.0.0.1:9/0"


@contextmanager
def streaming(client: httpx.Client) -> Iterator[httpx.Response]:
    """Hold a stream open."""
    with client.stream("POST", CHAT, json=hello(stream=True)) as response:
        yield response


def eventually(client: httpx.Client, *, within_s: float) -> httpx.Response:
    """Return the first answer that is not a 429, or the last one."""
    deadline = time.monotonic() + within_s
    while True:
        response = client.post(CHAT, json=hello(stream=True))
        if response.status_code != 429 or time.monotonic() > deadline:
            return response
        time.sleep(0.05)


def wait_for_processes(gateway: GatewayServer, count: int) -> None:
    """Wait until a gateway knows with how many it shares the limits."""
    share = gateway.application.gateway.runtime.quotas.share
    deadline = time.monotonic() + 10
    while share.processes != count:
        assert time.monotonic() < deadline, share.processes
        time.sleep(0.05)


class TestTheHeaders:
    def test_count_down_and_say_when_to_come_back(self, gateway: GatewayServer, shop: Shop) -> None:
        _, secret = shop.new_key(rpm=3)
        with gateway.client(secret) as client:
            responses = [client.post(CHAT, json=hello()) for _ in range(4)]

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
                poor = client.post(CHAT, json=hello("test/call"))
                assert poor.status_code == 402
                assert client.post(CHAT, json={}).status_code == 400
            shop.fund("1")
            assert client.post(CHAT, json=hello()).status_code == 200

    def test_zero_allows_nothing(self, gateway: GatewayServer, shop: Shop) -> None:
        _, secret = shop.new_key(rpm=0)
        with gateway.client(secret) as client:
            response = client.post(CHAT, json=hello())

        assert response.json()["error"]["reason"] == "rate_limited"
        assert response.headers["x-should-retry"] == "false"

    @pytest.mark.parametrize(
        "path",
        [
            *("/v1/models", "/v1/models/test/tokens", "/v1/key", "/api/v1/credits"),
            "/api/ds-prototypes/health",
        ],
    )
    def test_free_answers_have_them_and_use_nothing(
        self, gateway: GatewayServer, shop: Shop, path: str
    ) -> None:
        _, secret = shop.new_key(rpm=3, tpm=100)
        with gateway.client(secret) as client:
            for _ in range(2):
                response = client.get(path)
                assert response.status_code == 200
                assert response.headers["x-ratelimit-remaining-requests"] == "3"
                assert response.headers["x-ratelimit-remaining-tokens"] == "100"

    def test_speak_of_tokens_only_where_a_key_has_such_a_limit(self, client: httpx.Client) -> None:
        response = client.post(CHAT, json=hello())

        assert "x-ratelimit-limit-requests" in response.headers
        assert "x-ratelimit-limit-tokens" not in response.headers


class TestTokensPerMinute:
    @pytest.mark.parametrize("url", ["", NOBODY])
    def test_what_calls_used_is_missing_from_the_bucket(self, shop: Shop, url: str) -> None:
        _, secret = shop.new_key(tpm=20)
        with ExitStack() as stack:
            if url:
                stack.enter_context(override_settings(REDIS_URL=url))
            client = stack.enter_context(stack.enter_context(GatewayServer()).client(secret))
            # Each call uses 10 + 3 tokens, which are known when it has ended.
            first, second, third = (client.post(CHAT, json=hello()) for _ in range(3))

        assert [r.status_code for r in (first, second, third)] == [200, 200, 429]
        assert first.headers["x-ratelimit-limit-tokens"] == "20"
        assert first.headers["x-ratelimit-remaining-tokens"] == "20"
        assert second.headers["x-ratelimit-remaining-tokens"] in ("7", "8")
        assert third.headers["x-ratelimit-remaining-tokens"] == "0"
        error = third.json()["error"]
        assert error["reason"] == "rate_limited"
        assert error["message"].startswith("Token rate limit exceeded. Please retry after ")
        assert 1 <= int(third.headers["retry-after"]) <= 60

    def test_a_call_that_is_not_charged_uses_none(
        self, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        _, secret = shop.new_key(tpm=20)
        upstream.script(fake.error(500))
        with gateway.client(secret) as client:
            for _ in range(3):
                assert client.post(CHAT, json=hello()).status_code == 502
            assert client.get("/v1/key").headers["x-ratelimit-remaining-tokens"] == "20"


class TestStreamsAtOnce:
    @pytest.mark.parametrize("url", ["", NOBODY])
    def test_one_too_many_is_refused_until_another_ends(
        self, shop: Shop, upstream: FakeUpstream, url: str
    ) -> None:
        _, secret = shop.new_key(max_streams=2)
        shop.provider_cancels()
        upstream.script(fake.stream(["a"] * 1000, every_s=0.02))
        with ExitStack() as stack:
            if url:
                stack.enter_context(override_settings(REDIS_URL=url))
            client = stack.enter_context(stack.enter_context(GatewayServer()).client(secret))
            with streaming(client) as first, streaming(client) as second:
                assert (first.status_code, second.status_code) == (200, 200)
                refused = client.post(CHAT, json=hello(stream=True))
                upstream.script(fake.completion())
                whole = client.post(CHAT, json=hello())
            upstream.script(fake.stream())
            again = eventually(client, within_s=10)

        assert refused.status_code == 429
        assert refused.json()["error"]["reason"] == "too_many_streams"
        assert refused.headers["retry-after"] == "1"
        assert (whole.status_code, again.status_code) == (200, 200)

    def test_a_refusal_takes_no_request_of_the_minute(
        self, gateway: GatewayServer, shop: Shop
    ) -> None:
        _, secret = shop.new_key(rpm=3, max_streams=0)
        with gateway.client(secret) as client:
            for _ in range(5):
                refused = client.post(CHAT, json=hello(stream=True))
                assert refused.json()["error"]["reason"] == "too_many_streams"
                assert refused.headers["x-ratelimit-remaining-requests"] == "3"

    def test_are_counted_over_processes(self, shop: Shop, upstream: FakeUpstream) -> None:
        _, secret = shop.new_key(max_streams=1)
        shop.provider_cancels()
        upstream.script(fake.stream(["a"] * 500, every_s=0.02))
        with (
            GatewayServer() as one,
            GatewayProcess() as other,
            one.client(secret) as here,
            httpx.Client(
                base_url=other.url, headers={"authorization": f"Bearer {secret}"}, trust_env=False
            ) as there,
            streaming(here),
        ):
            assert there.post(CHAT, json=hello(stream=True)).status_code == 429


class TestWithoutRedis:
    def test_each_process_allows_its_share(self, shop: Shop) -> None:
        with override_settings(REDIS_URL=NOBODY), GatewayServer() as gateway:
            _, secret = shop.new_key(rpm=4)
            with gateway.client(secret) as client:
                responses = [client.post(CHAT, json=hello()) for _ in range(5)]

        assert [r.status_code for r in responses] == [200, 200, 200, 200, 429]
        assert shop.balance.held == 0

    def test_two_processes_allow_half_each(self, shop: Shop) -> None:
        _, secret = shop.new_key(rpm=4)
        with override_settings(REDIS_URL=NOBODY), GatewayServer() as one, GatewayServer() as other:
            for gateway in (one, other):
                wait_for_processes(gateway, 2)
            answers = []
            for gateway in (one, other):
                with gateway.client(secret) as client:
                    answers.append([client.post(CHAT, json=hello()) for _ in range(3)])

        for responses in answers:
            assert [r.status_code for r in responses] == [200, 200, 429]
            assert responses[-1].headers["x-ratelimit-remaining-requests"] == "0"
            assert 1 <= int(responses[-1].headers["retry-after"]) <= 30


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
