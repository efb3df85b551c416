"""Refusals for money that calls in flight hold: when to come back, in words and in headers."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from billing import ledger
from billing.models import KeyMeter
from tests.fakes import upstream as fake
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello

CHAT = "/v1/chat/completions"


def short_of_balance(shop: Shop) -> None:
    shop.take("9.997")


def short_of_cap(shop: Shop) -> None:
    ledger.open_meter(key_id=shop.key.pk)
    KeyMeter.objects.filter(key=shop.key).update(day_cap=3_000_000)


class TestRefusal:
    @pytest.mark.parametrize(
        ("short", "status", "reason"),
        [(short_of_balance, 402, "balance_reserved"), (short_of_cap, 429, "cap_reserved")],
    )
    def test_of_what_is_held_says_when_to_come_back(
        self,
        client: httpx.Client,
        shop: Shop,
        upstream: FakeUpstream,
        short: object,
        status: int,
        reason: str,
    ) -> None:
        assert callable(short)
        short(shop)
        upstream.script(fake.then([fake.Pause(0.5)], *fake.completion()))
        # Each can cost $0.002 and a little, and there is $0.003.
        body = hello(max_tokens=1000)
        with ThreadPoolExecutor(1) as thread:
            first = thread.submit(client.post, CHAT, json=body)
            upstream.wait_for_calls(1)
            refused = client.post(CHAT, json=body)
            assert first.result().status_code == 200

        error = refused.json()["error"]
        assert (refused.status_code, error["reason"]) == (status, reason)
        assert refused.headers["retry-after-ms"] == "500"
        found = re.search(r"Please retry after (\d+) second", error["message"])
        assert found is not None
        assert found[1] == refused.headers["retry-after"] == "1"
