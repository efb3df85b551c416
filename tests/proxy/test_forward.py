"""Chat completions that are not streamed: checked, held, forwarded, settled, answered."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from billing.pricing import Rates
from proxy import forward
from proxy import gateway as gateways
from proxy.exchange import Exchange
from proxy.models import Provider
from proxy.routing import Leg
from proxy.surfaces.base import Outcome
from proxy.surfaces.chat import Chat, ChatRendering
from proxy.wire.answers import Completion
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, hello, make_provider, request_id


class TestAPaidCall:
    def test_is_answered_under_our_id_and_the_name_asked_for(
        self, client: httpx.Client, shop: Shop
    ) -> None:
        response = client.post("/v1/chat/completions", json=hello("tokens"))

        assert response.status_code == 200, response.text
        body = response.json()
        assert body["model"] == "tokens"
        assert body["id"] == response.headers["x-request-id"].replace("req_", "chatcmpl-")
        assert body["choices"][0]["message"]["content"] == "hello from upstream"
        assert body["usage"]["prompt_tokens"] == 10

    def test_is_settled_to_the_nano_dollar(self, client: httpx.Client, shop: Shop) -> None:
        response = client.post("/v1/chat/completions", json=hello())

        # 10 tokens at $1 and 3 at $2 per million.
        assert response.headers["x-tollgate-cost"] == "0.000016"
        assert shop.balance.total == 10_000_000_000 - 16_000
        assert shop.balance.held == 0
        assert (shop.last.state, shop.last.charged, shop.last.source) == (
            "settled",
            16_000,
            "provider",
        )
        assert shop.last.id == request_id(response)

    def test_leaves_one_attempt(self, client: httpx.Client, shop: Shop) -> None:
        response = client.post("/v1/chat/completions", json=hello())

        attempts = shop.attempts(request_id(response))
        assert [(a.n, a.outcome, a.provider) for a in attempts] == [(1, "won", "first")]

    def test_nothing_of_the_caller_travels_on(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        headers = {"cookie": "a=b", "openai-organization": "org", "x-forwarded-for": "1.2.3.4"}
        client.post("/v1/chat/completions", json=hello(sandbox={}, temperature=1), headers=headers)

        [call] = upstream.calls
        assert call.headers["authorization"] == "Bearer upstream-key"
        assert shop.secret not in str(call.headers) + call.raw.decode()
        assert not {"cookie", "openai-organization", "x-forwarded-for"} & call.headers.keys()
        assert "sandbox" not in call.body
        assert call.body["model"] == "up-test/tokens"
        assert call.body["temperature"] == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "status", "reason", "param"),
        [
            (b"{", 400, "invalid_json", None),
            (b"[]", 400, "invalid_json", None),
            (b'{"a":' * 70 + b"1" + b"}" * 70, 400, "invalid_json", None),
            (b'{"model": "test/tokens"}', 400, "invalid_parameter", "messages"),
            (b'{"model": "x", "messages": []}', 400, "invalid_parameter", "messages"),
            (
                b'{"model": "none", "messages": [{"role": "user", "content": "x"}]}',
                404,
                "model_not_found",
                "model",
            ),
            (
                b'{"model": "test/call", "messages": [{"role": "user", "content": "x"}],'
                b' "temperature": 3}',
                400,
                "invalid_parameter",
                "temperature",
            ),
            (
                b'{"model": "test/call", "messages": [{"role": "user", "content": "x"}],'
                b' "web_search_options": {}}',
                400,
                "unpriced_parameter",
                "web_search_options",
            ),
            (
                b'{"model": "test/call", "messages": [{"role": "user", "content": "x"}],'
                b' "api_base": "http://x"}',
                400,
                "unsupported_parameter",
                "api_base",
            ),
        ],
    )
    def test_a_bad_body_reaches_no_upstream(
        self,
        client: httpx.Client,
        upstream: FakeUpstream,
        shop: Shop,
        body: bytes,
        status: int,
        reason: str,
        param: str | None,
    ) -> None:
        response = client.post("/v1/chat/completions", content=body)

        error = response.json()["error"]
        assert (response.status_code, error["reason"], error["param"]) == (status, reason, param)
        assert error["code"] == status
        assert upstream.calls == []
        assert (shop.usage, shop.holds) == ([], 0)

    def test_no_balance_is_402_and_final(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        shop.take("10")

        response = client.post("/v1/chat/completions", json=hello("test/call"))

        assert response.status_code == 402
        assert response.json()["error"]["reason"] == "insufficient_balance"
        assert response.json()["error"]["asset"] == "USD"
        assert response.headers["x-should-retry"] == "false"
        assert upstream.calls == []


class TestUpstreamFailures:
    @pytest.mark.parametrize(
        ("reply", "status", "reason"),
        [
            (fake.error(500), 502, "upstream_failed"),
            (fake.error(429), 502, "upstream_failed"),
            (fake.error(401), 502, "upstream_failed"),
            (fake.error(404), 502, "upstream_failed"),
            (fake.error(400), 400, "upstream_rejected"),
            (fake.error(400, code="context_length_exceeded"), 400, "context_length_exceeded"),
            (fake.error(400, code="content_filter"), 400, "content_filter"),
            (fake.answer(b"<html>"), 502, "upstream_failed"),
            (fake.answer({"choices": []}), 502, "upstream_failed"),
            (fake.answer({"error": {"message": "no"}}), 502, "upstream_failed"),
            ([fake.Cut()], 502, "upstream_failed"),
            ([fake.Head(), b'{"cho', fake.Cut()], 502, "upstream_failed"),
        ],
    )
    def test_cost_nothing_and_leave_no_hold(
        self,
        client: httpx.Client,
        shop: Shop,
        upstream: FakeUpstream,
        reply: fake.Reply,
        status: int,
        reason: str,
    ) -> None:
        upstream.script(reply)

        response = client.post("/v1/chat/completions", json=hello())

        assert (response.status_code, response.json()["error"]["reason"]) == (status, reason)
        assert shop.balance.total == 10_000_000_000
        assert shop.holds == 0
        assert (shop.last.state, shop.last.charged) == ("voided", 0)
        assert {a.outcome for a in shop.attempts(request_id(response))} == {"lost"}
        assert "Scripted" not in response.text


class Speechless(Chat):
    """A surface that has no words for what the first provider answers."""

    async def whole(self, exchange: Exchange, completion: Completion, outcome: Outcome) -> bytes:
        """
        Return a chat completion of any other provider.

        :raises LookupError: there are no words
        """
        if outcome.leg.provider.slug == "first":
            raise LookupError("no words")
        return await super().whole(exchange, completion, outcome)

    def rendering(self, exchange: Exchange) -> SpeechlessRendering:
        """Return what writes one stream."""
        return SpeechlessRendering(exchange)


class SpeechlessRendering(ChatRendering):
    """A stream without words for the first provider, and without an end for the second."""

    def chunk(self, chunk: dict[str, Any], leg: Leg) -> bytes:
        """
        Return a chunk of any other provider.

        :raises LookupError: there are no words
        """
        if leg.provider.slug == "first":
            raise LookupError("no words")
        return super().chunk(chunk, leg)

    async def end(self, outcome: Outcome) -> bytes:
        """
        Return the end of any other provider's stream.

        :raises LookupError: there are no words
        """
        if outcome.leg.provider.slug == "endless":
            raise LookupError("no words")
        return await super().end(outcome)


class TestAnAnswerThatCannotBeTold:
    @pytest.fixture(autouse=True)
    def _speechless(self, monkeypatch: pytest.MonkeyPatch) -> None:
        surface = ("POST", forward.served(Speechless()))
        monkeypatch.setitem(gateways.SURFACES, "/v1/speechless", surface)

    def test_is_not_charged(self, client: httpx.Client, shop: Shop) -> None:
        response = client.post("/v1/speechless", json=hello())

        assert response.status_code == 502
        assert response.json()["error"]["reason"] == "upstream_failed"
        assert (shop.last.state, shop.last.charged, shop.holds) == ("voided", 0, 0)
        assert shop.attempts(request_id(response))[0].cause == "garbage"

    @pytest.mark.parametrize("stream", [False, True])
    def test_is_made_good_by_the_next_route(
        self, shop: Shop, provider: Provider, add_model: AddModel, stream: bool
    ) -> None:
        with FakeUpstream() as other:
            second = make_provider("second", other.base_url)
            rates = Rates(prompt=1_000_000, completion=2_000_000)
            add_model("test/two", rates=rates, providers=(provider, second))
            with GatewayServer() as gateway, gateway.client(shop.secret) as client:
                response = client.post("/v1/speechless", json=hello("test/two", stream=stream))

        assert response.status_code == 200
        assert [row.charged for row in shop.usage] == [16_000]
        outcomes = [attempt.outcome for attempt in shop.attempts(request_id(response))]
        assert outcomes == ["lost", "won"]

    def test_to_its_end_after_it_was_paid_says_where_its_receipt_is(
        self, gateway: GatewayServer, client: httpx.Client, shop: Shop
    ) -> None:
        Provider.objects.update(slug="endless")
        gateway.catch_up()

        response = client.post("/v1/speechless", json=hello(stream=True))

        assert "upstream" in response.text
        error = json.loads(response.text.split("data: ")[-1])["error"]
        assert (error["reason"], shop.last.charged) == ("internal", 16_000)
        assert error["message"].endswith(f"receipt is {response.headers['x-request-id']}.")
        assert "not charged" not in error["message"]
