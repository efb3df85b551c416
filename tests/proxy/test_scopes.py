"""Every paid path of the gateway, with every scope; the list is shared with the management API."""

from __future__ import annotations

import httpx

from accounts.scopes import ALL
from tests.api.entries import GATEWAY
from tests.fakes.gateway import GatewayServer
from tests.proxy.conftest import Shop


class TestTheGateway:
    def test_lets_a_key_in_with_the_scope_and_without_it_not(
        self, gateway: GatewayServer, shop: Shop
    ) -> None:
        secrets = {scope: shop.new_key(scopes=[scope])[1] for scope in sorted(ALL)}
        with httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as client:
            for (method, path), needed in GATEWAY.items():
                if method != "POST":
                    continue
                place = path if path.startswith("/") else f"/v1/{path}"
                for scope, secret in secrets.items():
                    headers = {"authorization": f"Bearer {secret}"}
                    response = client.post(place, json={}, headers=headers)
                    refused = response.json()["error"]["reason"] == "scope_missing"
                    assert refused == (scope != needed), (scope, place, response.text)
