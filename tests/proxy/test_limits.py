"""Requests, tokens and streams of a key: exact in Redis, a share per process without it."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from django.test import override_settings

from proxy.limits import duration
from proxy.wire import chat
from proxy.wire.answers import estimated_tokens
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess, GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello

CHAT = "/v1/chat/completions"
NOBODY = "redis://127.0.0.1:9/0"


# Of ``hello(max_tokens=3)``: its bytes over four, and 3.
RESERVED = estimated_tokens(chat.parse(json.dumps(hello(max_tokens=3)).encode()).prompt_bytes) + 3


class Left:
    """What a header may say of a key's tokens, as time goes on and they come back."""

    def __init__(self, *, tpm: int) -> None:
        self.tpm = tpm
        self.began = time.monotonic()

    def __call__(self, tokens: int) -> list[str]:
        back = math.ceil((time.monotonic() - self.began) * self.tpm / 60)
        return [str(number) for number in range(tokens - 1, min(tokens + 1 + back, self.tpm) + 1)]


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
    deadline = time.monotonic() + 30
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

    @pytest.mark.parametrize("terms", [{"rpm": 0}, {"tpm": 0}], ids=str)
    def test_zero_allows_nothing(
        self, gateway: GatewayServer, shop: Shop, terms: dict[str, Any]
    ) -> None:
        _, secret = shop.new_key(**terms)
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
        _, secret = shop.new_key(tpm=40)
        with ExitStack() as stack:
            if url:
                stack.enter_context(override_settings(REDIS_URL=url))
            client = stack.enter_context(stack.enter_context(GatewayServer()).client(secret))
            # Each takes a prompt's bytes by four and 3 tokens before, and uses 10 + 3 of them.
            body, left = hello(max_tokens=3), Left(tpm=40)
            answers = [client.post(CHAT, json=body) for _ in range(4)]

        assert [r.status_code for r in answers] == [200, 200, 200, 429]
        first, second, _, last = answers
        assert first.headers["x-ratelimit-limit-tokens"] == "40"
        assert first.headers["x-ratelimit-remaining-tokens"] in left(40 - RESERVED)
        assert second.headers["x-ratelimit-remaining-tokens"] in left(40 - 13 - RESERVED)
        assert last.headers["x-ratelimit-remaining-tokens"] in left(40 - 3 * 13)
        error = last.json()["error"]
        assert error["reason"] == "rate_limited"
        seconds = int(last.headers["retry-after"])
        assert 1 <= seconds <= 60
        assert error["message"] == (
            f"Token rate limit exceeded. Please retry after {seconds} seconds."
        )

    @pytest.mark.parametrize("url", ["", NOBODY])
    def test_calls_side_by_side_cannot_overdraw_it(
        self, shop: Shop, upstream: FakeUpstream, url: str
    ) -> None:
        """What a call asked for is taken before it is known what it used."""
        _, secret = shop.new_key(tpm=300)
        refused = threading.Event()
        upstream.script(fake.then([fake.Gate(refused)], *fake.completion()))
        with ExitStack() as stack:
            if url:
                stack.enter_context(override_settings(REDIS_URL=url))
            client = stack.enter_context(stack.enter_context(GatewayServer()).client(secret))
            pool = stack.enter_context(ThreadPoolExecutor(8))
            # Two take nearly all of it: for a third nothing like enough comes back meanwhile.
            body = hello(max_tokens=140)
            asked = [pool.submit(client.post, CHAT, json=body) for _ in range(8)]
            # Those that are let through end once all others have been refused.
            first = as_completed(asked, timeout=30)
            assert [next(first).result().status_code for _ in range(6)] == [429] * 6
            refused.set()
            answers = [each.result() for each in asked]

        assert sorted(r.status_code for r in answers) == [200] * 2 + [429] * 6
        assert len(upstream.calls) == 2

    def test_a_call_beyond_the_whole_limit_takes_all_of_it(
        self, gateway: GatewayServer, shop: Shop
    ) -> None:
        _, secret = shop.new_key(tpm=50)
        left = Left(tpm=50)
        with gateway.client(secret) as client:
            response = client.post(CHAT, json=hello(max_tokens=900))
            after = client.get("/v1/key")

        assert response.status_code == 200
        assert response.headers["x-ratelimit-remaining-tokens"] == "0"
        assert after.headers["x-ratelimit-remaining-tokens"] in left(50 - 13)

    def test_a_refusal_for_money_takes_none(self, gateway: GatewayServer, shop: Shop) -> None:
        _, secret = shop.new_key(tpm=50)
        shop.take("10")
        with gateway.client(secret) as client:
            assert client.post(CHAT, json=hello(max_tokens=20)).status_code == 402
            assert client.get("/v1/key").headers["x-ratelimit-remaining-tokens"] == "50"

    def test_a_call_that_is_not_charged_uses_none(
        self, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        _, secret = shop.new_key(tpm=20)
        left = Left(tpm=20)
        upstream.script(fake.error(500))
        with gateway.client(secret) as client:
            for _ in range(3):
                assert client.post(CHAT, json=hello()).status_code == 502
            assert client.get("/v1/key").headers["x-ratelimit-remaining-tokens"] in left(20)


class TestStreamsAtOnce:
    @pytest.mark.parametrize("url", ["", NOBODY])
    def test_one_too_many_is_refused_until_another_ends(
        self, shop: Shop, upstream: FakeUpstream, url: str
    ) -> None:
        _, secret = shop.new_key(max_streams=2)
        shop.provider_cancels()
        upstream.script(fake.endless(every_s=0.02))
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
            again = eventually(client, within_s=30)

        assert refused.status_code == 429
        assert refused.json()["error"]["reason"] == "too_many_streams"
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["message"].endswith("Please retry after 1 second.")
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
        upstream.script(fake.endless(every_s=0.02))
        with (
            GatewayServer() as one,
            GatewayProcess() as other,
            one.client(secret) as here,
            httpx.Client(
                base_url=other.url,
                headers={"authorization": f"Bearer {secret}"},
                timeout=30,
                trust_env=False,
            ) as there,
            streaming(here),
        ):
            assert there.post(CHAT, json=hello(stream=True)).status_code == 429


class TestHoldAndRateAtOnce:
    def test_what_the_rate_refuses_holds_nothing_and_reaches_nobody(
        self, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        """Far from its limit a key's rate and money are asked at once, and both must agree."""
        _, secret = shop.new_key(rpm=30)
        with gateway.client(secret) as client, ThreadPoolExecutor(40) as pool:
            first = [client.post(CHAT, json=hello()) for _ in range(2)]
            rest = list(pool.map(lambda _: client.post(CHAT, json=hello()), range(60)))
        statuses = sorted(response.status_code for response in (*first, *rest))

        answered = statuses.count(200)
        # A slow machine lets the bucket refill by a few.
        assert 30 <= answered <= 45
        assert set(statuses) == {200, 429}
        assert len(upstream.calls) == answered
        deadline = time.monotonic() + 20
        while shop.holds and time.monotonic() < deadline:
            time.sleep(0.05)
        assert shop.holds == 0
        assert sum(row.charged > 0 for row in shop.usage) == answered
        assert {row.reason for row in shop.usage if row.state == "voided"} <= {"rate_limited"}

    def test_money_is_refused_without_using_the_rate(
        self, gateway: GatewayServer, shop: Shop
    ) -> None:
        _, secret = shop.new_key(rpm=30)
        with gateway.client(secret) as client:
            before = [client.post(CHAT, json=hello()) for _ in range(2)][-1]
            shop.take("9.99996")
            dear = client.post(CHAT, json=hello("test/call"))
            shop.fund("1")
            after = client.post(CHAT, json=hello())

        assert dear.status_code == 402
        assert dear.headers["x-ratelimit-limit-requests"] == "30"
        left = [int(each.headers["x-ratelimit-remaining-requests"]) for each in (before, after)]
        assert left[0] - left[1] <= 1


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
