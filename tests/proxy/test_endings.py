"""Usage that contradicts itself: an alert, a mark that staff can list, an estimate."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from billing import invariants
from tests import staffing
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello
from tests.proxy.test_streams import wait_until_closed

CHAT = "/v1/chat/completions"
ABSURD: list[dict[str, Any]] = [
    fake.usage(10, 3, prompt_tokens_details={"cached_tokens": 11}),
    fake.usage(10, 3, completion_tokens_details={"reasoning_tokens": 4}),
    fake.usage(10, -3),
    {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 14},
    {"prompt_tokens": "10", "completion_tokens": 3},
    {"completion_tokens": 3},
]


def whole(usage: dict[str, Any]) -> fake.Reply:
    return fake.completion("x" * 40, with_usage=False, usage=usage)


def streamed(usage: dict[str, Any]) -> fake.Reply:
    chunks = [
        fake.chunk({"content": "x" * 40}),
        fake.chunk({}, finish_reason="stop"),
        fake.chunk(choices=[], usage=usage),
    ]
    return fake.events(chunks)


class TestQuarantined:
    @pytest.mark.parametrize("usage", ABSURD, ids=json.dumps)
    @pytest.mark.parametrize(("reply", "stream"), [(whole, False), (streamed, True)])
    def test_a_contradiction_is_marked_and_estimated(
        self,
        client: httpx.Client,
        shop: Shop,
        upstream: FakeUpstream,
        caplog: pytest.LogCaptureFixture,
        usage: dict[str, Any],
        reply: Callable[[dict[str, Any]], fake.Reply],
        stream: bool,
    ) -> None:
        upstream.script(reply(usage))

        response = client.post(CHAT, json=hello(stream=stream))

        assert response.status_code == 200
        last = shop.last
        assert (last.state, last.reason) == ("settled", "usage_contradiction")
        # 40 bytes are counted as ten tokens.
        assert (last.source, last.output_tokens) == ("count", 10)
        assert "A provider's usage contradicts itself" in caplog.text

    @pytest.mark.parametrize("reply", [fake.completion(), fake.completion(with_usage=False)])
    def test_usage_that_fits_or_lacks_is_not(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream, reply: fake.Reply
    ) -> None:
        upstream.script(reply)

        client.post(CHAT, json=hello())

        assert shop.last.reason == ""

    def test_the_last_usage_of_a_stream_counts(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        chunks = [
            fake.chunk({"content": "a"}, usage=ABSURD[0]),
            fake.chunk({}, finish_reason="stop"),
            fake.chunk(choices=[], usage=fake.usage(10, 1)),
        ]
        upstream.script(fake.events(chunks))

        client.post(CHAT, json=hello(stream=True))

        assert (shop.last.reason, shop.last.source) == ("", "provider")

    def test_a_stream_that_breaks_off_is_marked_too(
        self,
        client: httpx.Client,
        shop: Shop,
        upstream: FakeUpstream,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        absurd = fake.event(fake.chunk({"content": "x" * 40}, usage=ABSURD[0]))
        upstream.script([fake.STREAM_HEAD, absurd, fake.Cut()])

        client.post(CHAT, json=hello(stream=True))

        assert (shop.last.reason, shop.last.source) == ("usage_contradiction", "count")
        assert shop.attempts(shop.last.id)[0].cause == "disconnected"
        assert "A provider's usage contradicts itself" in caplog.text

    def test_a_stream_whose_caller_left_is_marked_too(
        self, gateway: GatewayServer, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        shop.provider_cancels()
        gateway.catch_up()
        absurd = fake.event(fake.chunk({"content": "x" * 40}, usage=ABSURD[0]))
        quiet = fake.Repeat(b": quiet\n\n", every_s=0.05)
        upstream.script([fake.STREAM_HEAD, absurd, quiet])

        with client.stream("POST", CHAT, json=hello(stream=True)) as response:
            next(response.iter_bytes())

        wait_until_closed(shop)
        assert (shop.last.reason, shop.last.cancelled) == ("usage_contradiction", True)

    def test_staff_can_list_them(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        upstream.script(whole(ABSURD[0]), fake.completion())
        for _ in range(2):
            client.post(CHAT, json=hello())
        staff = get_user_model().objects.create_superuser(
            email="staff@example.com", password="a-long-pass-word"
        )
        browser = staffing.sign_in(Client(), staff)

        page = browser.get("/admin/billing/usage/", {"quarantine": "usage_contradiction"})

        assert page.status_code == 200
        assert page.content.decode().count('<td class="field-reason">usage_contradiction</td>') == 1
        assert "1 usage" in page.content.decode()


class TestCounted:
    @pytest.mark.parametrize("stream", [False, True])
    def test_what_passes_its_limit_is_never_charged_above_the_hold(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream, stream: bool
    ) -> None:
        chunks = [fake.chunk({"content": "x" * 4_000}), fake.chunk({}, finish_reason="stop")]
        answer = fake.completion("x" * 4_000, with_usage=False)
        upstream.script(fake.events(chunks) if stream else answer)

        response = client.post(CHAT, json=hello(stream=stream, max_tokens=5))

        assert response.status_code == 200
        wait_until_closed(shop)
        row = shop.last
        assert (row.source, row.uncollected) == ("count", 0)
        assert row.hold - 2_000 < row.charged <= row.hold
        assert invariants.check().ok
