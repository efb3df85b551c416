"""Who may call: keys, workspaces, scopes, addresses."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from django.utils import timezone

from accounts import keys, members, signup, workspaces
from accounts.actors import Staff
from accounts.models import ApiKey, Workspace
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello


def ask(gateway: GatewayServer, key: str, **headers: str) -> httpx.Response:
    with gateway.client(key) as client:
        return client.post("/v1/chat/completions", json=hello(), headers=headers)


def reason(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["reason"]


class TestKeys:
    @pytest.mark.parametrize(
        "key", ["", "x", "sk-tg-short", "sk-tg-" + "0" * 32, "Bearer", "sk-tg-'; drop table--"]
    )
    def test_junk_is_401_in_the_documented_words(self, gateway: GatewayServer, key: str) -> None:
        response = ask(gateway, key)

        assert reason(response) == (401, "invalid_api_key")
        if key not in ("", "Bearer"):
            message = "Invalid API key. Please check your key and try again."
            assert response.json()["error"]["message"] == message
        assert response.headers["x-request-id"].startswith("req_")

    def test_a_well_formed_stranger_is_401(self, gateway: GatewayServer) -> None:
        from accounts import keytext

        assert reason(ask(gateway, keytext.mint(prefix="sk-tg-")))[0] == 401

    def test_x_api_key_serves_as_well(self, gateway: GatewayServer, shop: Shop) -> None:
        with gateway.client() as client:
            response = client.post(
                "/v1/chat/completions", json=hello(), headers={"x-api-key": shop.secret}
            )

        assert response.status_code == 200

    def test_two_different_keys_are_400(self, gateway: GatewayServer, shop: Shop) -> None:
        assert ask(gateway, shop.secret, **{"x-api-key": "other"}).status_code == 400
        assert ask(gateway, shop.secret, **{"x-api-key": shop.secret}).status_code == 200

    def test_an_expired_key_is_401(self, gateway: GatewayServer, shop: Shop) -> None:
        soon = timezone.now() + timedelta(seconds=60)
        key, secret = shop.new_key(expires_at=soon)
        assert ask(gateway, secret).status_code == 200

        past = timezone.now() - timedelta(seconds=1)
        ApiKey.objects.filter(pk=key.pk).update(expires_at=past)

        assert reason(ask(gateway, secret)) == (401, "key_expired")

    def test_a_deleted_key_is_401(self, gateway: GatewayServer, shop: Shop) -> None:
        assert ask(gateway, shop.secret).status_code == 200
        keys.delete(key=shop.key, by=shop.user)

        assert reason(ask(gateway, shop.secret)) == (401, "invalid_api_key")

    def test_enabling_again_is_seen_at_once(self, gateway: GatewayServer, shop: Shop) -> None:
        keys.disable(key=shop.key, by=shop.user)
        assert reason(ask(gateway, shop.secret)) == (401, "key_disabled")

        keys.enable(key=shop.key, by=shop.user)

        assert ask(gateway, shop.secret).status_code == 200

    def test_one_that_staff_disabled_is_401(self, gateway: GatewayServer, shop: Shop) -> None:
        assert ask(gateway, shop.secret).status_code == 200
        keys.disable(key=shop.key, by=Staff(shop.user))

        assert reason(ask(gateway, shop.secret)) == (401, "key_disabled")

    def test_an_address_off_the_list_is_403(self, gateway: GatewayServer, shop: Shop) -> None:
        _, far = shop.new_key(ips=["203.0.113.0/24"])
        _, near = shop.new_key(name="near", ips=["127.0.0.0/8"])

        assert reason(ask(gateway, far)) == (403, "ip_not_allowed")
        assert ask(gateway, near).status_code == 200

    def test_a_forwarded_address_is_not_believed(self, gateway: GatewayServer, shop: Shop) -> None:
        _, far = shop.new_key(ips=["203.0.113.0/24"])

        assert ask(gateway, far, **{"x-forwarded-for": "203.0.113.7"}).status_code == 403

    def test_without_the_scope_is_403(
        self, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        _, secret = shop.new_key(scopes=["embeddings"])

        assert reason(ask(gateway, secret)) == (403, "scope_missing")
        assert upstream.calls == []

    def test_a_model_off_the_list_is_403(self, gateway: GatewayServer, shop: Shop) -> None:
        _, secret = shop.new_key(models=["test/call"])
        with gateway.client(secret) as client:
            refused = client.post("/v1/chat/completions", json=hello("tokens"))
            listed = client.get("/v1/models").json()["data"]
            hidden = client.get("/v1/models/test/tokens")

        assert reason(refused) == (403, "model_not_allowed")
        assert [model["id"] for model in listed] == ["test/call"]
        assert hidden.status_code == 404


class TestWorkspaces:
    @pytest.fixture
    def second(self, shop: Shop) -> Workspace:
        return workspaces.create(name="Second", owner=shop.user)

    def test_with_several_one_must_be_named(
        self, gateway: GatewayServer, shop: Shop, second: Workspace
    ) -> None:
        _, secret = keys.create(
            name="both",
            workspaces=[shop.workspace, second],
            user=shop.user,
            by=shop.user,
            scopes=["chat"],
        )

        assert reason(ask(gateway, secret)) == (400, "workspace_required")
        paid = ask(gateway, secret, **{"x-workspace-id": shop.workspace.public_id})
        poor = ask(gateway, secret, **{"x-workspace-id": second.public_id})
        assert paid.status_code == 200
        assert reason(poor) == (402, "insufficient_balance")

    def test_a_foreign_one_is_403(self, gateway: GatewayServer, shop: Shop) -> None:
        stranger = signup.register(
            email="eve@example.com", password="long-pass-word", verified=True
        )
        foreign = Workspace.objects.get(personal_of=stranger)

        response = ask(gateway, shop.secret, **{"x-workspace-id": foreign.public_id})

        assert reason(response) == (403, "workspace_forbidden")

    def test_leaving_one_takes_it_from_the_key_at_once(
        self, gateway: GatewayServer, shop: Shop
    ) -> None:
        friend = signup.register(email="bob@example.com", password="long-pass-word", verified=True)
        membership = members.add(
            workspace=shop.workspace, user=friend, role="developer", by=shop.user
        )
        _, secret = keys.create(
            name="bob", workspaces=[shop.workspace], user=friend, by=friend, scopes=["chat"]
        )
        assert ask(gateway, secret).status_code == 200

        members.remove(membership=membership, by=shop.user)

        assert reason(ask(gateway, secret)) == (403, "workspace_forbidden")
        assert shop.holds == 0

    def test_a_lower_role_takes_the_right_at_once(self, gateway: GatewayServer, shop: Shop) -> None:
        friend = signup.register(email="bob@example.com", password="long-pass-word", verified=True)
        membership = members.add(
            workspace=shop.workspace, user=friend, role="developer", by=shop.user
        )
        _, secret = keys.create(
            name="bob", workspaces=[shop.workspace], user=friend, by=friend, scopes=["chat"]
        )
        assert ask(gateway, secret).status_code == 200

        members.change_role(membership=membership, role="billing", by=shop.user)

        assert reason(ask(gateway, secret)) == (403, "scope_missing")
        assert shop.holds == 0

    def test_a_frozen_one_is_403(self, gateway: GatewayServer, shop: Shop) -> None:
        from billing import ledger

        ledger.freeze(workspace_id=shop.workspace.pk)

        assert reason(ask(gateway, shop.secret)) == (403, "workspace_frozen")
