"""A client written for Neyra: keys of people and programs, the base /api/v1, mixed case."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from accounts import keys, service_accounts
from proxy.gateway import SURFACES
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello

URL = "/api/v1/chat/completions"
MODEL = "neyra/1D"


class TestKeys:
    def test_belong_to_people_or_to_service_accounts(
        self, gateway: GatewayServer, shop: Shop
    ) -> None:
        """NY-01"""
        bot = service_accounts.create(
            workspace=shop.workspace, name="bot", role="developer", by=shop.user
        )
        _, text = keys.create(
            name="bot's",
            workspaces=[shop.workspace],
            service_account=bot,
            scopes=["chat"],
            by=shop.user,
        )

        for secret in (shop.secret, text):
            with gateway.client(secret) as client:
                assert client.post(URL, json=hello(MODEL)).status_code == 200

    def test_are_restricted_to_scopes(self, gateway: GatewayServer, shop: Shop) -> None:
        """NY-01"""
        _, secret = shop.new_key(scopes=["embeddings"])
        with gateway.client(secret) as client:
            response = client.post(URL, json=hello(MODEL))

        assert response.status_code == 403
        assert response.json()["error"]["reason"] == "scope_missing"

    def test_no_request_goes_without_one(self, gateway: GatewayServer) -> None:
        """NY-02"""
        with gateway.client() as client:
            for path in SURFACES.keys() - {"/livez"}:
                method, _ = SURFACES[path]
                response = client.request(method, path, json=hello(MODEL))
                assert response.status_code == 401, path
                assert response.json()["error"]["type"] == "unauthorized"


class TestTheSdk:
    @pytest.mark.parametrize("base", ["/api/v1", "/v1"])
    def test_takes_either_base_and_streams(
        self, gateway: GatewayServer, shop: Shop, base: str
    ) -> None:
        """NY-03, NY-04"""
        with openai.OpenAI(api_key=shop.secret, base_url=gateway.url + base) as sdk:
            stream = sdk.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Hello!"}], stream=True
            )
            chunks = list(stream)

        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == (
            "hello from upstream"
        )
        assert {chunk.model for chunk in chunks} == {MODEL}


class TestParameters:
    def test_a_models_name_is_taken_as_it_is_written(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NY-04: neyra/1D is not neyra/1d."""
        exact = client.post(URL, json=hello(MODEL))
        lower = client.post(URL, json=hello(MODEL.lower()))

        assert (exact.status_code, exact.json()["model"]) == (200, MODEL)
        assert (lower.status_code, lower.json()["error"]["param"]) == (404, "model")
        assert len(upstream.calls) == 1

    @pytest.mark.parametrize("missing", ["model", "messages"])
    def test_two_are_required(self, client: httpx.Client, missing: str) -> None:
        """NY-05"""
        body = {name: value for name, value in hello(MODEL).items() if name != missing}

        error = client.post(URL, json=body).json()["error"]

        assert (error["code"], error["param"]) == (400, missing)

    @pytest.mark.parametrize(
        "sent",
        [
            {"stop": "end"},
            {"stop": [str(number) for number in range(10)]},
            {"max_tokens": 7},
            {"temperature": 0},
            {"temperature": 2},
            {"top_p": 0.1},
        ],
    )
    def test_the_others_travel(
        self, client: httpx.Client, upstream: FakeUpstream, sent: dict[str, Any]
    ) -> None:
        """NY-05"""
        assert client.post(URL, json=hello(MODEL, **sent)).status_code == 200
        assert sent.items() <= upstream.calls[0].body.items()

    @pytest.mark.parametrize(
        ("name", "value"),
        [("stop", ["x"] * 11), ("max_tokens", "7"), ("temperature", 2.01), ("stream", "yes")],
    )
    def test_out_of_range_they_are_named(
        self, client: httpx.Client, upstream: FakeUpstream, name: str, value: Any
    ) -> None:
        """NY-05: ten stop sequences, not eleven."""
        error = client.post(URL, json=hello(MODEL, **{name: value})).json()["error"]

        assert (error["code"], error["param"]) == (400, name)
        assert upstream.calls == []
