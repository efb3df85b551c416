"""What a key and its workspace have used and have left, in OpenRouter's words."""

from __future__ import annotations

import json
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from django.db import connection

from accounts import keys
from billing import grants, limits
from common import money
from proxy.standing import first_id
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello

CHAT = "/v1/chat/completions"
CALL = Decimal("0.000016")


def told(client: httpx.Client, what: str) -> dict[str, Any]:
    """Return the data of an answer, its numbers exact."""
    response = client.get(f"/v1/{what}")
    assert response.status_code == 200, response.text
    data: dict[str, Any] = json.loads(response.text, parse_float=Decimal)["data"]
    return data


OPENROUTER = {
    *("label", "limit", "limit_remaining", "limit_reset", "expires_at", "rate_limit"),
    *("usage", "usage_daily", "usage_weekly", "usage_monthly"),
    *("byok_usage", "byok_usage_daily", "byok_usage_weekly", "byok_usage_monthly"),
    *("include_byok_in_limit", "is_free_tier", "is_management_key", "is_provisioning_key"),
    "creator_user_id",
}


class TestKey:
    def test_tells_limits_and_use(self, client: httpx.Client, shop: Shop) -> None:
        limits.set_key_caps(
            by=None,
            key=shop.key,
            daily=money.nanos_from_usd("3"),
            monthly=money.nanos_from_usd("20"),
            past_tier=True,
        )
        for _ in range(2):
            client.post(CHAT, json=hello())

        key = told(client, "key")

        assert key["label"] == shop.key.hint
        assert (key["limit"], key["limit_reset"]) == (3, "daily")
        assert key["limit_remaining"] == 3 - 2 * CALL
        for window in ("usage", "usage_daily", "usage_weekly", "usage_monthly"):
            assert key[window] == 2 * CALL, window
        assert key["is_free_tier"] is False
        assert key["expires_at"] is None
        assert key["rate_limit"].pop("note")
        assert key["rate_limit"] == {
            "requests": 60, "interval": "1m", "tokens": None, "streams": None,
        }  # fmt: skip
        assert key["caps"]["monthly"] == {"limit": "20.00", "remaining": "19.999968"}
        assert key["workspace_id"] == shop.workspace.public_id

    def test_every_field_of_openrouter_is_there(self, client: httpx.Client) -> None:
        """As of the reference of get-current-key; nobody brings keys of a provider here."""
        key = told(client, "key")

        own = [name for name in key if name.startswith("byok_usage")]
        assert key.keys() >= OPENROUTER
        assert [key[name] for name in own] == [0, 0, 0, 0]
        assert key["include_byok_in_limit"] is False
        assert key["is_provisioning_key"] is key["is_management_key"] is False
        assert key["rate_limit"].keys() >= {"requests", "interval", "note"}

    def test_a_key_without_caps_has_no_limit(self, client: httpx.Client, shop: Shop) -> None:
        limits.set_key_caps(by=None, key=shop.key, daily=None, monthly=None, past_tier=True)

        key = told(client, "key")

        assert (key["limit"], key["limit_remaining"], key["limit_reset"]) == (None, None, None)

    def test_what_calls_in_flight_hold_is_no_use_but_not_left_either(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        limits.set_key_caps(
            by=None, key=shop.key, daily=money.nanos_from_usd("3"), monthly=None, past_tier=True
        )
        script = fake.stream(done=0, finish_reason=None, with_usage=False)
        asked = threading.Event()
        upstream.script(fake.then(script, fake.Gate(asked), fake.Cut()))
        with client.stream("POST", CHAT, json=hello(stream=True)) as response:
            next(response.iter_raw())
            key = told(client, "key")
        asked.set()

        assert key["usage_daily"] == 0
        assert Decimal(key["held"]) > 0
        assert key["limit_remaining"] == 3 - Decimal(key["held"])

    def test_use_of_last_month_is_in_the_total_only(self, client: httpx.Client, shop: Shop) -> None:
        client.post(CHAT, json=hello())
        with connection.cursor() as cursor:
            cursor.execute(
                "update billing_keymeter set day = day - 40 where key_id = %s", [shop.key.pk]
            )

        key = told(client, "key")

        assert (key["usage"], key["usage_daily"], key["usage_monthly"]) == (CALL, 0, 0)

    def test_a_workspace_that_never_paid_is_on_the_free_tier(
        self, gateway: GatewayServer, shop: Shop
    ) -> None:
        with connection.cursor() as cursor:
            cursor.execute("update billing_account set credits_posted = 0 where kind = 'paid'")
        with gateway.client(shop.secret) as client:
            assert told(client, "key")["is_free_tier"] is True

    def test_a_disabled_key_is_refused_at_once(self, client: httpx.Client, shop: Shop) -> None:
        assert client.get("/v1/key").status_code == 200
        keys.disable(key=shop.key, by=shop.user)

        assert client.get("/v1/key").json()["error"]["reason"] == "key_disabled"

    def test_needs_a_key(self, gateway: GatewayServer) -> None:
        with gateway.client() as client:
            assert client.get("/v1/key").status_code == 401


class TestCredits:
    def test_add_up(self, client: httpx.Client, shop: Shop) -> None:
        grants.grant(workspace=shop.workspace, asset="TOK", amount=300, reason="test")
        client.post(CHAT, json=hello())

        credits = told(client, "credits")

        assert (credits["total_credits"], credits["total_usage"]) == (10, CALL)
        assert (credits["held"], credits["available"]) == ("0.00", "9.999984")
        assert credits["tokens"] == {
            "total_credits": 300, "total_usage": 0, "held": "0", "available": "300",
        }  # fmt: skip

    def test_what_expired_was_neither_kept_nor_used(self, client: httpx.Client, shop: Shop) -> None:
        now = datetime.now(tz=UTC)
        grants.grant(
            workspace=shop.workspace,
            asset="USD",
            amount=money.nanos_from_usd("5"),
            reason="test",
            expires_at=now + timedelta(days=1),
        )
        assert told(client, "credits")["total_credits"] == 15
        grants.expire_due(now=now + timedelta(days=2))

        credits = told(client, "credits")

        assert (credits["total_credits"], credits["total_usage"]) == (10, 0)
        assert credits["available"] == "10.00"

    @pytest.mark.parametrize(
        ("scopes", "status"),
        [
            (["chat"], 200),
            (["images"], 200),
            (["billing:read"], 200),
            (["models:read", "usage:read"], 403),
            (["keys:manage"], 403),
        ],
    )
    def test_take_billing_read_or_inference(
        self, gateway: GatewayServer, shop: Shop, scopes: list[str], status: int
    ) -> None:
        _, secret = shop.new_key(scopes=scopes)
        with gateway.client(secret) as client:
            assert client.get("/v1/credits").status_code == status


class TestFirstId:
    def test_is_before_every_request_of_the_day(self) -> None:
        assert first_id(date(1970, 1, 2)) == "0000" + f"{23 * 3600 * 1000:08x}" + "0" * 20
