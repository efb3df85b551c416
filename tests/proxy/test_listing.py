"""The list of models: exact prices, names, aliases."""

from __future__ import annotations

import httpx

from billing.pricing import Rates
from proxy.models import Model
from tests.fakes.gateway import GatewayServer
from tests.proxy.conftest import AddModel, Shop


class TestModels:
    def test_prices_are_exact_strings_per_thousand_tokens(
        self, add_model: AddModel, shop: Shop
    ) -> None:
        add_model(
            "openai/gpt-4o", rates=Rates(prompt=2_500_000, completion=10_000_000), alias="gpt-4o"
        )
        add_model("tiny/one", rates=Rates(prompt=1, completion=37_500))
        with GatewayServer() as gateway, gateway.client(shop.secret) as client:
            listed = {model["id"]: model for model in client.get("/v1/models").json()["data"]}

        assert listed["openai/gpt-4o"]["pricing"] == {"prompt": "0.0025", "completion": "0.0100"}
        assert listed["tiny/one"]["pricing"] == {
            "prompt": "0.000000001",
            "completion": "0.0000375",
        }
        assert "gpt-4o" not in listed
        assert listed["openai/gpt-4o"]["context_length"] == 8000
        assert isinstance(listed["openai/gpt-4o"]["created"], int)

    def test_pictures_are_priced_by_size_and_quality(self, add_model: AddModel, shop: Shop) -> None:
        """NG-07, NA-13: exact strings; a picture has no context."""
        prices = {"1024x1024": {"low": 11_000_000_000, "high": 167_000_000_000}}
        model = add_model("openai/gpt-image-1", rates=Rates(image=prices))
        by_call = add_model("test/pictures", rates=Rates(per_call=50_000_000_000))
        Model.objects.filter(pk__in=(model.pk, by_call.pk)).update(kind="image")
        with GatewayServer() as gateway, gateway.client(shop.secret) as client:
            listed = {model["id"]: model for model in client.get("/v1/models").json()["data"]}

        priced = listed["openai/gpt-image-1"]
        assert priced["pricing"] == {"image": {"1024x1024": {"low": "0.0110", "high": "0.1670"}}}
        assert priced["context_length"] is None
        assert listed["test/pictures"]["pricing"] == {"image": {}, "request": "0.0500"}

    def test_needs_a_key(self, gateway: GatewayServer) -> None:
        with gateway.client() as client:
            assert client.get("/v1/models").status_code == 401


class TestModel:
    def test_is_found_by_slug_encoded_or_not_and_by_alias(self, client: httpx.Client) -> None:
        for name in ("test/tokens", "test%2Ftokens", "tokens"):
            response = client.get(f"/v1/models/{name}")
            assert response.status_code == 200
            assert response.json()["id"] == name.replace("%2F", "/")

    def test_unknown_is_404(self, client: httpx.Client) -> None:
        response = client.get("/v1/models/none")

        assert (response.status_code, response.json()["error"]["reason"]) == (
            404,
            "model_not_found",
        )
