"""What is made where little money is left: clamped calls, refusals with a number, waiting."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from billing import ledger
from billing.models import Account, KeyMeter
from billing.pricing import Rates
from common import money
from tests.fakes import upstream as fake
from tests.fakes.upstream import FakeUpstream
from tests.proxy import neuralbox
from tests.proxy.conftest import AddModel, Shop, hello

CHAT = "/v1/chat/completions"
# 10 bytes, 8 for the message and 10 for the model, at a dollar a million; an output token is two.
PROMPT_NANOS = 28_000
OUTPUT_NANOS = 2000
UNCLAMPED = {"x-tollgate-clamp": "off"}


def leave(shop: Shop, nanos: int) -> None:
    """Leave so much of the balance."""
    shop.take(money.usd(shop.balance.total - nanos))


def cap_workspace(shop: Shop, nanos: int) -> None:
    accounts = ledger.open_accounts(workspace_id=shop.workspace.pk)
    Account.objects.filter(pk=accounts.usd_id).update(month_cap=nanos)


def cap_key(shop: Shop, nanos: int) -> None:
    ledger.open_meter(key_id=shop.key.pk)
    KeyMeter.objects.filter(key=shop.key).update(day_cap=nanos)


@pytest.fixture
def dear(shop: Shop, add_model: AddModel) -> None:
    """A model of which an output token costs a platform token."""
    add_model("test/dear", rates=Rates(completion=2_500_000_000))
    neuralbox.give(shop.workspace, 300)


class TestTake:
    @pytest.mark.parametrize("bound", [leave, cap_workspace, cap_key])
    def test_an_output_without_a_limit_is_clamped_to_what_is_left_to_the_token(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream, bound: object
    ) -> None:
        assert callable(bound)
        bound(shop, PROMPT_NANOS + 500 * OUTPUT_NANOS + OUTPUT_NANOS - 1)

        answer = client.post(CHAT, json=hello())

        assert answer.status_code == 200, answer.text
        assert answer.headers["x-tollgate-max-tokens"] == "500"
        assert upstream.calls[0].body["max_tokens"] == 500
        assert shop.last.hold == PROMPT_NANOS + 500 * OUTPUT_NANOS + OUTPUT_NANOS - 1

    def test_choices_share_what_is_left(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        leave(shop, PROMPT_NANOS + 2 * 300 * OUTPUT_NANOS)
        assert client.post(CHAT, json=hello(n=2)).headers["x-tollgate-max-tokens"] == "300"
        assert upstream.calls[0].body["max_tokens"] == 300

    def test_what_covers_the_model_s_most_is_not_clamped(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        leave(shop, PROMPT_NANOS + 1000 * OUTPUT_NANOS)
        assert "x-tollgate-max-tokens" not in client.post(CHAT, json=hello()).headers

    def test_less_than_is_of_use_is_a_402_whose_number_can_be_asked_for(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        leave(shop, PROMPT_NANOS + 256 * OUTPUT_NANOS - 1)
        refused = client.post(CHAT, json=hello())
        error = refused.json()["error"]
        assert (refused.status_code, error["reason"]) == (402, "insufficient_balance")
        assert (error["affordable_max_tokens"], error["asset"]) == (255, "USD")
        assert refused.headers["x-should-retry"] == "false"
        assert client.post(CHAT, json=hello(max_tokens=256)).status_code == 402
        assert upstream.calls == []

        assert client.post(CHAT, json=hello(max_tokens=255)).status_code == 200

    def test_exactly_what_is_of_use_is_made(self, client: httpx.Client, shop: Shop) -> None:
        leave(shop, PROMPT_NANOS + 256 * OUTPUT_NANOS)
        assert client.post(CHAT, json=hello()).headers["x-tollgate-max-tokens"] == "256"

    def test_who_names_a_limit_or_wants_no_clamp_gets_all_or_a_402(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        leave(shop, PROMPT_NANOS + 1000 * OUTPUT_NANOS - 1)
        limited = client.post(CHAT, json=hello(max_tokens=1000))
        unclamped = client.post(CHAT, json=hello(), headers=UNCLAMPED)
        for refused in (limited, unclamped):
            assert refused.status_code == 402
            assert refused.json()["error"]["affordable_max_tokens"] == 999
        assert (upstream.calls, shop.usage, shop.holds) == ([], [], 0)

    def test_tokens_are_clamped_by_their_value(
        self, dear: None, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        answer = client.post(neuralbox.URL, json=hello("test/dear"))
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-tollgate-max-tokens"] == "300"
        assert upstream.calls[0].body["max_tokens"] == 300
        assert shop.last.hold == 300


def short_of_balance(shop: Shop) -> None:
    shop.take("9.997")


def short_of_cap(shop: Shop) -> None:
    cap_key(shop, 3_000_000)


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
        asked = threading.Event()
        upstream.script(fake.then([fake.Gate(asked)], *fake.completion()))
        # Each can cost $0.002 and a little, and there is $0.003.
        body = hello(max_tokens=1000)
        with ThreadPoolExecutor(1) as thread:
            first = thread.submit(client.post, CHAT, json=body)
            upstream.wait_for_calls(1)
            try:
                refused = client.post(CHAT, json=body)
            finally:
                asked.set()
            assert first.result().status_code == 200

        error = refused.json()["error"]
        assert (refused.status_code, error["reason"]) == (status, reason)
        assert refused.headers["retry-after-ms"] == "500"
        found = re.search(r"Please retry after (\d+) second", error["message"])
        assert found is not None
        assert found[1] == refused.headers["retry-after"] == "1"
