"""A client written for NeuronGate: its limits, its errors and its shapes, word for word."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pytest_django import Settings

from billing import limits
from billing.chains import exchange, wallets
from tests.billing.chains import counter
from tests.fakes import upstream as fake
from tests.fakes.evm import Event, FakeChain
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello
from tests.proxy.services.conftest import FOUR_STOPS

URL = "/v1/chat/completions"
MODEL = "openai/gpt-4o"


def events(text: str) -> list[str]:
    """Return the data of a stream's events."""
    return [part.removeprefix("data: ") for part in text.split("\n\n") if part]


class TestPayment:
    def test_a_call_costs_the_listed_price(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        """NG-01, NG-07: prices are per 1,000 tokens."""
        upstream.script(fake.completion(prompt_tokens=1000, completion_tokens=100))
        price = client.get(f"/v1/models/{MODEL}").json()["pricing"]
        before = shop.balance.total

        client.post(URL, json=hello(MODEL))

        cost = Decimal(price["prompt"]) + Decimal(price["completion"]) / 10
        assert cost == Decimal("0.0035")
        assert before - shop.balance.total == int(cost * 10**9)

    def test_a_deposit_of_crypto_pays_for_a_call(
        self,
        client: httpx.Client,
        shop: Shop,
        upstream: FakeUpstream,
        settings: Settings,
        tmp_path: Path,
    ) -> None:
        """NG-01: workspaces are funded with USDT, among others."""
        upstream.script(fake.completion(prompt_tokens=1000, completion_tokens=100))
        shop.take(str(Decimal(shop.balance.paid) / 10**9))
        assert client.post(URL, json=hello(MODEL)).status_code == 402
        with FakeChain(decimals={counter.USDC: 6, counter.USDT: 6}) as chain:
            urls = [chain.endpoint().url, chain.endpoint().url]
            counter.configure(settings, tmp_path, counter.plan(urls))
            counter.set_wallet()
            counter.Counter(chain).look()
            address = wallets.give(workspace=shop.workspace)
            chain.mine(chain.tx(Event(counter.USDT, counter.PAYER, address.address, 25_000_000)))
            chain.finalise()
            assert counter.Counter(chain).look().new == 1
        counter.quote("USDT", "1")
        assert exchange.convert_due(now=datetime.now(UTC)) == 1

        assert client.post(URL, json=hello(MODEL)).status_code == 200
        assert shop.balance.total == 25 * 10**9 - 3_500_000


class TestKeys:
    def test_have_a_prefix_and_32_characters(
        self, gateway: GatewayServer, shop: Shop, settings: Settings
    ) -> None:
        """NG-02"""
        settings.API_KEY_PREFIX = "sk-ng-"
        _, secret = shop.new_key()

        assert re.fullmatch(r"sk-ng-[0-9A-Za-z]{32}", secret)
        with gateway.client(secret) as client:
            assert client.post(URL, json=hello(MODEL)).status_code == 200

    @pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
    def test_come_in_either_header(self, gateway: GatewayServer, shop: Shop, header: str) -> None:
        """NG-03"""
        key = f"Bearer {shop.secret}" if header == "Authorization" else shop.secret
        with gateway.client() as client:
            response = client.post(URL, json=hello(MODEL), headers={header: key})

        assert response.status_code == 200


class TestParameters:
    @pytest.mark.parametrize(
        ("name", "values", "wrong"),
        [
            ("temperature", [0, 1, 2], [-0.1, 2.1, "1"]),
            ("max_tokens", [1, 500], [0, -1, 1.5, "5"]),
            ("top_p", [0, 0.5, 1], [-0.1, 1.1]),
            ("frequency_penalty", [-2, 0, 2], [-2.1, 2.1]),
            ("presence_penalty", [-2, 0, 2], [-2.1, 2.1]),
            ("stop", ["a", ["a"], ["a", "b", "c", "d"]], [1, [1]]),
            ("stream", [False, None], ["no", 1]),
        ],
    )
    def test_keep_to_their_ranges(
        self,
        client: httpx.Client,
        upstream: FakeUpstream,
        name: str,
        values: list[Any],
        wrong: list[Any],
    ) -> None:
        """NG-04"""
        for value in values:
            response = client.post(URL, json=hello(MODEL, **{name: value}))
            assert response.status_code == 200, response.text
            if value is not None and name != "stream":
                assert upstream.calls[-1].body[name] == value
        served = len(upstream.calls)
        for value in wrong:
            error = client.post(URL, json=hello(MODEL, **{name: value})).json()["error"]
            assert (error["code"], error["param"].partition("[")[0]) == (400, name)
        assert len(upstream.calls) == served

    @pytest.mark.parametrize("role", ["system", "user", "assistant"])
    def test_messages_have_three_roles(self, client: httpx.Client, role: str) -> None:
        """NG-04"""
        body = {"model": MODEL, "messages": [{"role": role, "content": "Hello"}]}

        assert client.post(URL, json=body).status_code == 200

    @pytest.mark.parametrize("missing", ["model", "messages"])
    def test_two_are_required(self, client: httpx.Client, missing: str) -> None:
        """NG-04"""
        body = {name: value for name, value in hello(MODEL).items() if name != missing}

        error = client.post(URL, json=body).json()["error"]

        assert (error["code"], error["param"]) == (400, missing)

    @pytest.mark.parametrize(
        "model", ["openai/gpt-4o", "anthropic/claude-sonnet-4", "meta-llama/llama-3-70b"]
    )
    def test_the_named_models_are_served(self, client: httpx.Client, model: str) -> None:
        """NG-04"""
        assert client.post(URL, json=hello(model)).json()["model"] == model

    def test_a_model_may_take_four_stop_sequences_only(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NG-04"""
        four = client.post(URL, json=hello(FOUR_STOPS, stop=["a", "b", "c", "d"]))
        five = client.post(URL, json=hello(FOUR_STOPS, stop=["a", "b", "c", "d", "e"]))

        assert (four.status_code, five.status_code) == (200, 400)
        error = five.json()["error"]
        assert (error["param"], "at most 4" in error["message"]) == ("stop", True)
        assert len(upstream.calls) == 1


class TestAnswers:
    def test_have_the_documented_shape(self, client: httpx.Client) -> None:
        """NG-05"""
        body = client.post(URL, json=hello(MODEL)).json()

        assert re.fullmatch(r"chatcmpl-[0-9a-z]{26}", body["id"])
        assert body["object"] == "chat.completion"
        assert type(body["created"]) is int
        assert body["model"] == MODEL
        [choice] = body["choices"]
        assert (choice["index"], choice["finish_reason"]) == (0, "stop")
        assert choice["message"] == {"role": "assistant", "content": "hello from upstream"}
        usage = body["usage"]
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        assert [usage[name] for name in names] == [10, 3, 13]

    def test_stream_as_documented(self, client: httpx.Client) -> None:
        """NG-06"""
        response = client.post(URL, json=hello(MODEL, stream=True))

        *told, done = events(response.text)
        chunks = [json.loads(each) for each in told]
        assert done == "[DONE]"
        for chunk in chunks:
            assert chunk["object"] == "chat.completion.chunk"
            assert chunk["id"].startswith("chatcmpl-")
            assert type(chunk["created"]) is int
            assert chunk["model"] == MODEL
            assert [choice["index"] for choice in chunk["choices"]] == [0]
        *parts, last = (chunk["choices"][0] for chunk in chunks)
        assert "".join(part["delta"].get("content") or "" for part in parts) == (
            "hello from upstream"
        )
        assert {part["finish_reason"] for part in parts} == {None}
        assert (last["delta"], last["finish_reason"]) == ({}, "stop")

    @pytest.mark.parametrize(("last", "parts"), [("b", ["a", "b"]), ("", ["a"]), (None, ["a"])])
    def test_a_stream_ends_with_an_empty_delta_whatever_the_provider_sends(
        self, client: httpx.Client, upstream: FakeUpstream, last: str | None, parts: list[str]
    ) -> None:
        """NG-06"""
        end = fake.chunk({"content": last}, finish_reason="stop")
        upstream.script(fake.events([fake.chunk({"content": "a"}), end]))

        response = client.post(URL, json=hello(MODEL, stream=True))

        *chunks, done = events(response.text)
        told = [json.loads(chunk)["choices"][0] for chunk in chunks]
        assert done == "[DONE]"
        assert [(one["delta"], one["finish_reason"]) for one in told] == [
            *(({"content": part}, None) for part in parts),
            ({}, "stop"),
        ]

    def test_models_are_listed_as_documented(self, client: httpx.Client) -> None:
        """NG-07"""
        body = client.get("/v1/models").json()

        assert body["object"] == "list"
        [listed] = [each for each in body["data"] if each["id"] == MODEL]
        assert type(listed.pop("created")) is int
        assert listed == {
            "id": MODEL,
            "object": "model",
            "owned_by": "tests",
            "pricing": {"prompt": "0.0025", "completion": "0.0100"},
            "context_length": 128_000,
        }


class TestLimits:
    def test_are_60_a_minute_100_a_day_1000_a_month(self, client: httpx.Client) -> None:
        """NG-08"""
        response = client.get("/v1/key")

        told = response.json()["data"]
        assert told["rate_limit"]["requests"] == 60
        assert response.headers["x-ratelimit-limit-requests"] == "60"
        caps = {name: Decimal(cap["limit"]) for name, cap in told["caps"].items()}
        assert caps == {"daily": 100, "monthly": 1000}

    def test_a_reached_spend_limit_is_429(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        """NG-08, NG-10"""
        limits.set_key_caps(by=None, key=shop.key, daily=1, monthly=None)

        response = client.post(URL, json=hello(MODEL))

        error = response.json()["error"]
        assert (response.status_code, error["type"]) == (429, "rate_limit_exceeded")
        assert int(response.headers["retry-after"]) >= 1
        assert upstream.calls == []

    def test_too_many_requests_are_told_word_for_word(
        self, gateway: GatewayServer, shop: Shop
    ) -> None:
        """NG-09: at 30 a minute the next slot is two seconds away."""
        _, secret = shop.new_key(rpm=30)
        with gateway.client(secret) as client:
            answers = (client.post(URL, json=hello(MODEL)) for _ in range(300))
            refused = next(each for each in answers if each.headers.get("retry-after") == "2")

        error = refused.json()["error"]
        assert {name: error[name] for name in ("type", "message", "code")} == {
            "type": "rate_limit_exceeded",
            "message": "Rate limit exceeded. Please retry after 2 seconds.",
            "code": 429,
        }


class TestErrors:
    def test_carry_the_documented_types(
        self, client: httpx.Client, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        """NG-10, NG-11: code is the integer status."""
        told: dict[int, str] = {}

        def note(response: httpx.Response) -> None:
            error = response.json()["error"]
            assert {"type", "message", "code"} <= error.keys()
            assert error["code"] == response.status_code
            assert type(error["code"]) is int
            told[response.status_code] = error["type"]

        note(client.post(URL, json=hello(MODEL, temperature=3)))
        note(client.post(URL, json=hello(MODEL), headers={"authorization": "Bearer x"}))
        note(client.post(URL, json=hello("none")))
        upstream.script(fake.error(500))
        note(client.post(URL, json=hello(MODEL)))
        _, slow = shop.new_key(rpm=1)
        with gateway.client(slow) as hasty:
            hasty.post(URL, json=hello(MODEL))
            note(hasty.post(URL, json=hello(MODEL)))
        shop.take("10")
        note(client.post(URL, json=hello(MODEL)))
        # A fault of our own: nothing that a caller sends brings one about.
        del gateway.application.gateway.runtime.limiter
        note(client.get("/v1/models"))

        assert told == {
            400: "bad_request",
            401: "unauthorized",
            402: "insufficient_funds",
            404: "not_found",
            429: "rate_limit_exceeded",
            500: "internal_error",
            502: "upstream_error",
        }

    def test_a_bad_key_is_told_word_for_word(self, gateway: GatewayServer) -> None:
        """NG-11"""
        with gateway.client("sk-ng-" + "0" * 32) as client:
            error = client.post(URL, json=hello(MODEL)).json()["error"]

        assert (error["type"], error["code"]) == ("unauthorized", 401)
        assert error["message"] == "Invalid API key. Please check your key and try again."


class TestTheSdk:
    def test_streams(self, sdk: openai.OpenAI) -> None:
        """NG-12"""
        stream = sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello!"}], stream=True
        )

        told = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert told == "hello from upstream"

    def test_raises_its_own_errors(self, sdk: openai.OpenAI) -> None:
        """NG-12"""
        with pytest.raises(openai.NotFoundError) as unknown:
            sdk.chat.completions.create(
                model="none", messages=[{"role": "user", "content": "Hello!"}]
            )
        assert unknown.value.type == "not_found"
        with pytest.raises(openai.AuthenticationError, match="Invalid API key"):
            sdk.with_options(api_key="sk-wrong").models.list()

    def test_lists_models(self, sdk: openai.OpenAI) -> None:
        """NG-12"""
        assert MODEL in [each.id for each in sdk.models.list()]
        assert sdk.models.retrieve(MODEL).id == MODEL
