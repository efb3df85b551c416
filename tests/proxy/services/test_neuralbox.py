"""A client written for NeuralBox; its endpoint's own tests are with the surface."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from tests.fakes.gateway import GatewayServer
from tests.proxy.conftest import Shop, hello

URL = "/api/v2/generate"


class TestGenerate:
    def test_a_key_may_begin_with_nb(
        self, gateway: GatewayServer, shop: Shop, settings: Settings
    ) -> None:
        """NB-01"""
        settings.API_KEY_PREFIX = "nb_"
        _, secret = shop.new_key()

        assert secret.startswith("nb_")
        with gateway.client(secret) as client:
            assert client.post(URL, json=hello("gpt-5")).status_code == 200

    @pytest.mark.parametrize("model", ["gpt-5", "claude-sonnet-4.5", "gemini-3-pro", "deepseek-r1"])
    def test_the_named_models_answer_under_their_slugs(
        self, gateway: GatewayServer, shop: Shop, model: str
    ) -> None:
        """NB-02"""
        with gateway.client(shop.secret) as client:
            body = client.post(URL, json=hello(model)).json()

        assert (body["status"], body["model"]) == ("completed", model)

    def test_a_model_is_required(self, gateway: GatewayServer, shop: Shop) -> None:
        """NB-02"""
        with gateway.client(shop.secret) as client:
            error = client.post(URL, json={"messages": hello()["messages"]}).json()["error"]

        assert (error["code"], error["param"]) == (400, "model")
