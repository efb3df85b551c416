"""The receipt of a call: by any form of its id, complete, for its own workspace only."""

from __future__ import annotations

import json
import threading
import time
from decimal import Decimal
from typing import Any

import httpx
import pytest

from accounts import keys, signup, workspaces
from accounts.models import Workspace
from billing.pricing import Rates
from common import ids
from proxy.models import Provider
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, hello, make_provider, request_id

CHAT = "/v1/chat/completions"


def receipt(client: httpx.Client, id: str, **headers: str) -> dict[str, Any]:
    """Return the data of a receipt, its numbers exact."""
    response = client.get("/v1/generation", params={"id": id}, headers=headers)
    assert response.status_code == 200, response.text
    data: dict[str, Any] = json.loads(response.text, parse_float=Decimal)["data"]
    return data


def closed(client: httpx.Client, id: str) -> dict[str, Any]:
    """Return a receipt once its call is closed."""
    deadline = time.monotonic() + 30
    while (told := receipt(client, id))["state"] == "pending":
        assert time.monotonic() < deadline, "the call was not closed"
        time.sleep(0.02)
    return told


class TestAReceipt:
    @pytest.mark.parametrize("base", ["/v1", "/api/v1"])
    def test_is_found_by_any_form_of_the_id(self, client: httpx.Client, base: str) -> None:
        call = request_id(client.post(CHAT, json=hello()))

        for prefix in ids.REQUEST_PREFIXES:
            found = client.get(f"{base}/generation", params={"id": ids.form(prefix, call)})
            assert found.status_code == 200
            assert found.json()["data"]["id"] == ids.form("gen_", call)
            assert found.json()["data"]["request_id"] == ids.form("req_", call)

    def test_tells_tokens_price_hold_and_charge(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        usage = fake.usage(
            100,
            20,
            prompt_tokens_details={"cached_tokens": 30, "cache_write_tokens": 10},
            completion_tokens_details={"reasoning_tokens": 5},
        )
        upstream.script(fake.completion(with_usage=False, usage=usage))
        call = client.post(CHAT, json=hello("tokens")).headers["x-request-id"]

        told = receipt(client, call)

        assert (told["state"], told["status"], told["source"]) == ("settled", 200, "provider")
        assert told["model"] == "test/tokens"
        assert told["tokens"] == {
            "input": 60,
            "cached_input": 30,
            "cache_write": 10,
            "output": 20,
            "reasoning": 5,
            "pictures": 0,
            "picture_size": None,
            "picture_quality": None,
            "searches": 0,
        }
        assert (told["tokens_prompt"], told["native_tokens_cached"]) == (100, 30)
        assert told["price_version"]["usd_per_million_tokens"] == {
            "input": "1.00",
            "cached_input": "1.00",
            "cache_write": "1.00",
            "output": "2.00",
        }
        assert told["price_version"]["id"] == shop.last.price_id
        assert told["charge"] == {
            "asset": "USD",
            "amount": "0.000140",
            "usd": "0.000140",
            "granted": "0.000000",
        }
        assert told["total_cost"] == told["usage"] == Decimal("0.000140")
        assert Decimal(told["hold"]["usd"]) > Decimal("0.000140")
        assert told["timings"]["latency_ms"] >= told["timings"]["first_byte_ms"] >= 0
        assert (told["estimated"], told["streamed"], told["cancelled"]) == (False, False, False)
        assert told["upstream_inference_cost"] is None

    def test_lists_the_attempts_with_the_upstreams_ids(
        self, shop: Shop, upstream: FakeUpstream, provider: Provider, add_model: AddModel
    ) -> None:
        upstream.script(fake.error(500), fake.completion())
        second = make_provider("second", upstream.base_url)
        add_model("test/two", rates=Rates(prompt=1, completion=1), providers=(provider, second))
        with GatewayServer() as gateway, gateway.client(shop.secret) as client:
            self._check_attempts(client)

    def _check_attempts(self, client: httpx.Client) -> None:
        response = client.post(CHAT, json=hello("test/two"))

        told = receipt(client, response.headers["x-request-id"])

        assert [
            (a["n"], a["provider"], a["outcome"], a["cause"], a["status"], a["upstream_id"])
            for a in told["attempts"]
        ] == [
            (1, "first", "lost", "http_500", 500, None),
            (2, "second", "won", None, 200, "chatcmpl-upstream"),
        ]
        assert told["attempts"][1]["upstream_model"] == "up-test/two"
        assert told["provider_name"] == "second"
        assert [r["status"] for r in told["provider_responses"]] == [500, 200]
        assert "chatcmpl-upstream" not in response.text

    def test_says_that_an_answer_was_estimated(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.script(fake.completion(with_usage=False))
        call = client.post(CHAT, json=hello()).headers["x-request-id"]

        told = receipt(client, call)

        assert (told["source"], told["estimated"]) == ("count", True)

    def test_of_a_failed_call_shows_that_nothing_was_charged(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.script(fake.error(503))
        call = client.post(CHAT, json=hello()).headers["x-request-id"]

        told = receipt(client, call)

        assert (told["state"], told["status"], told["reason"]) == ("voided", 502, "upstream_failed")
        assert told["charge"]["usd"] == "0.000000"
        assert told["attempts"][0]["cause"] == "http_503"

    def test_of_a_call_in_flight_is_pending(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        script = fake.stream(done=0, finish_reason=None, with_usage=False)
        asked = threading.Event()
        upstream.script(fake.then(script, fake.Gate(asked), fake.Cut()))
        with client.stream("POST", CHAT, json=hello(stream=True)) as response:
            next(response.iter_raw())
            told = receipt(client, response.headers["x-request-id"])
        asked.set()

        assert told["state"] == "pending"
        assert told["model"] == "test/tokens"
        assert (told["api_type"], told["streamed"]) == ("chat", True)
        assert (told["charge"]["usd"], told["attempts"]) == ("0.000000", [])
        assert Decimal(told["hold"]["usd"]) > 0
        assert told["timings"]["closed_at"] is None

    def test_of_a_cancelled_stream_says_so(self, upstream: FakeUpstream, shop: Shop) -> None:
        shop.provider_cancels()
        upstream.script(fake.stream(["word "] * 500, every_s=0.02))
        with GatewayServer() as gateway, gateway.client(shop.secret) as client:
            with client.stream("POST", CHAT, json=hello(stream=True)) as response:
                next(response.iter_raw())
            told = closed(client, response.headers["x-request-id"])

        assert (told["cancelled"], told["streamed"]) == (True, True)


class TestWhoMayRead:
    def test_another_workspace_finds_nothing(
        self, client: httpx.Client, gateway: GatewayServer
    ) -> None:
        call = client.post(CHAT, json=hello()).headers["x-request-id"]
        bob = signup.register(email="bob@example.com", password="a-long-pass-word", verified=True)
        place = Workspace.objects.get(personal_of=bob)
        _, secret = keys.create(
            name="b", workspaces=[place], user=bob, by=bob, scopes=["chat", "usage:read"]
        )
        with gateway.client(secret) as other:
            response = other.get("/v1/generation", params={"id": call})

        assert response.status_code == 404
        assert response.json()["error"]["reason"] == "not_found"

    def test_another_key_of_the_workspace_needs_usage_read(
        self, client: httpx.Client, gateway: GatewayServer, shop: Shop
    ) -> None:
        call = client.post(CHAT, json=hello()).headers["x-request-id"]
        statuses = []
        for scopes in (["chat"], ["usage:read"]):
            _, secret = shop.new_key(scopes=scopes)
            with gateway.client(secret) as other:
                statuses.append(other.get("/v1/generation", params={"id": call}).status_code)

        assert statuses == [404, 200]

    def test_a_key_with_two_workspaces_names_the_one_it_asks_about(
        self, gateway: GatewayServer, shop: Shop
    ) -> None:
        second = workspaces.create(name="Second", owner=shop.user)
        _, secret = keys.create(
            name="both",
            workspaces=[shop.workspace, second],
            user=shop.user,
            by=shop.user,
            scopes=["chat"],
        )
        here = {"x-workspace-id": shop.workspace.public_id}
        with gateway.client(secret) as client:
            call = client.post(CHAT, json=hello(), headers=here).headers["x-request-id"]
            assert receipt(client, call, **here)["request_id"] == call
            for headers, status in (({}, 400), ({"x-workspace-id": second.public_id}, 404)):
                response = client.get("/v1/generation", params={"id": call}, headers=headers)
                assert response.status_code == status

    def test_a_disabled_key_reads_nothing(self, client: httpx.Client, shop: Shop) -> None:
        call = client.post(CHAT, json=hello()).headers["x-request-id"]
        keys.disable(key=shop.key, by=shop.user)

        response = client.get("/v1/generation", params={"id": call})

        assert response.json()["error"]["reason"] == "key_disabled"


class TestBadIds:
    @pytest.mark.parametrize(
        ("query", "status", "param"),
        [
            ("", 400, "id"),
            ("?id=", 400, "id"),
            ("?id=nonsense", 404, "id"),
            (f"?id=gen_{'z' * 26}", 404, "id"),
            (f"?id=gen_{'0' * 26}", 404, "id"),
            (f"?id=gen_7{'z' * 25}", 404, "id"),
        ],
    )
    def test_are_refused(self, client: httpx.Client, query: str, status: int, param: str) -> None:
        response = client.get(f"/v1/generation{query}")

        assert response.status_code == status
        assert response.json()["error"]["param"] == param

    def test_an_unknown_call_is_404(self, client: httpx.Client) -> None:
        response = client.get(f"/v1/generation?id={ids.form('req_', ids.request_id())}")

        assert response.status_code == 404
