"""``Idempotency-Key`` through the real gateway: made once, answered again, freed when unbilled."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import openai
import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts import keys, workspaces
from accounts.models import Tier
from billing import grants, invariants, ledger
from billing.models import Account
from proxy import keeping
from proxy.models import Generation, IdempotencyKey
from tests.billing import bank
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello

CHAT = "/v1/chat/completions"
GENERATE = "/api/v2/generate"
COST = 16_000
KEY = {"idempotency-key": "order-66"}


@pytest.fixture(autouse=True)
def _books(transactional_db: None) -> Iterator[None]:
    yield
    report = invariants.check()
    assert report.ok, report


def spent(shop: Shop) -> int:
    return 10_000_000_000 - shop.balance.total


def reason(response: httpx.Response) -> str:
    return str(response.json()["error"]["reason"])


class TestAReplay:
    def test_gives_the_same_answer_and_charges_nothing(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        first = client.post(CHAT, json=hello(), headers=KEY)
        again = client.post(CHAT, json=hello(), headers=KEY)

        assert (first.status_code, again.status_code) == (200, 200)
        assert again.content == first.content
        assert again.headers["x-request-id"] == first.headers["x-request-id"]
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert len(upstream.calls) == 1
        assert (len(shop.usage), spent(shop)) == (1, COST)

    def test_is_given_also_when_the_money_has_gone(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        first = client.post(CHAT, json=hello(), headers=KEY)
        shop.take("9.999")

        assert client.post(CHAT, json=hello(), headers=KEY).content == first.content

    def test_through_the_other_base_path_is_the_same_endpoint(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        first = client.post(CHAT, json=hello(), headers=KEY)

        assert client.post(f"/api{CHAT}", json=hello(), headers=KEY).content == first.content
        assert len(upstream.calls) == 1

    def test_works_with_the_official_sdk(
        self, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        with openai.OpenAI(api_key=shop.secret, base_url=f"{gateway.url}/v1") as sdk:
            ask: dict[str, Any] = {
                **hello(),
                "extra_headers": {"Idempotency-Key": "one"},
            }
            first = sdk.chat.completions.create(**ask)
            again = sdk.chat.completions.create(**ask)

        assert (again.id, again._request_id) == (first.id, first._request_id)
        assert len(upstream.calls) == 1

    def test_is_refused_to_a_key_that_was_disabled_meanwhile(
        self, client: httpx.Client, shop: Shop
    ) -> None:
        client.post(CHAT, json=hello(), headers=KEY)
        keys.disable(key=shop.key, by=shop.user)

        assert client.post(CHAT, json=hello(), headers=KEY).status_code == 401

    def test_lasts_a_day(self, client: httpx.Client, upstream: FakeUpstream) -> None:
        first = client.post(CHAT, json=hello(), headers=KEY)
        row = IdempotencyKey.objects.get()
        # From when it was taken, a moment before it was confirmed.
        held_s = (timedelta(hours=24) - (row.expires_at - row.created_at)).total_seconds()
        assert 0 <= held_s < 30
        IdempotencyKey.objects.update(expires_at=timezone.now())

        again = client.post(CHAT, json=hello(), headers=KEY)

        assert again.status_code == 200
        assert again.json()["id"] != first.json()["id"]
        assert len(upstream.calls) == 2

    def test_past_its_time_is_deleted(self, client: httpx.Client) -> None:
        client.post(CHAT, json=hello(), headers=KEY)
        assert keeping.tidy().expired == 0
        IdempotencyKey.objects.update(expires_at=timezone.now())

        assert keeping.tidy().expired == 1
        assert not IdempotencyKey.objects.exists()

    def test_of_a_generation_is_its_answer(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        grants.grant(workspace=shop.workspace, asset="TOK", amount=300, reason="test")

        first = client.post(GENERATE, json=hello(), headers=KEY)
        again = client.post(GENERATE, json=hello(), headers=KEY)

        assert (again.status_code, again.content) == (200, first.content)
        assert first.json()["status"] == "completed"
        assert len(upstream.calls) == 1

    def test_of_an_async_generation_is_its_submission(
        self, client: httpx.Client, shop: Shop
    ) -> None:
        grants.grant(workspace=shop.workspace, asset="TOK", amount=300, reason="test")
        body = hello() | {"async": True}

        first = client.post(GENERATE, json=body, headers=KEY)
        again = client.post(GENERATE, json=body, headers=KEY)

        assert again.content == first.content
        assert first.json()["status"] == "pending"
        assert (Generation.objects.count(), shop.holds) == (1, 1)


class TestWhatIsKept:
    def test_is_sealed_and_names_nothing(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.script(fake.completion("SECRET-ANSWER"))
        body = hello(messages=[{"role": "user", "content": "SECRET-PROMPT"}])
        client.post(CHAT, json=body, headers={"idempotency-key": "SECRET-KEY"})

        with connection.cursor() as cursor:
            cursor.execute(
                "select k::text || encode(answer, 'escape') || encode(digest, 'escape')"
                " from proxy_idempotencykey k"
            )
            [(row,)] = cursor.fetchall()
        assert "SECRET" not in row

    def test_is_nothing_without_the_header(self, client: httpx.Client) -> None:
        client.post(CHAT, json=hello())

        assert not IdempotencyKey.objects.exists()

    def test_is_not_what_is_too_large(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.completion("x" * 1_100_000))
        first = client.post(CHAT, json=hello(), headers=KEY)

        again = client.post(CHAT, json=hello(), headers=KEY)

        assert first.status_code == 200
        assert (again.status_code, reason(again)) == (409, "idempotency_completed")
        assert again.json()["error"]["receipt_id"] == first.headers["x-request-id"]
        assert again.headers["x-should-retry"] == "false"
        assert len(upstream.calls) == 1


class TestTheScope:
    def test_another_body_is_refused(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        client.post(CHAT, json=hello(), headers=KEY)

        other = client.post(CHAT, json=hello(temperature=1), headers=KEY)

        assert (other.status_code, reason(other)) == (409, "idempotency_key_reused")
        assert other.headers["x-should-retry"] == "false"
        assert len(upstream.calls) == 1

    def test_another_api_key_has_keys_of_its_own(
        self, client: httpx.Client, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        first = client.post(CHAT, json=hello(), headers=KEY)
        _, secret = shop.new_key()

        with gateway.client(secret) as other:
            second = other.post(CHAT, json=hello(), headers=KEY)

        assert second.json()["id"] != first.json()["id"]
        assert len(upstream.calls) == 2

    def test_another_endpoint_has_keys_of_its_own(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        client.post(CHAT, json=hello(), headers=KEY)
        other = client.post("/api/ds-prototypes/chat/completions", json=hello(), headers=KEY)

        assert other.status_code == 200
        assert "idempotent-replayed" not in other.headers
        assert len(upstream.calls) == 2

    def test_another_workspace_of_the_key_is_another_request(
        self, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        other = workspaces.create(name="Other", owner=shop.user)
        grants.grant(workspace=other, asset="USD", amount=10**9, reason="test")
        _, secret = keys.create(
            name="both",
            workspaces=[shop.workspace, other],
            user=shop.user,
            by=shop.user,
            scopes=["chat"],
        )
        here = KEY | {"x-workspace-id": shop.workspace.public_id}
        there = KEY | {"x-workspace-id": other.public_id}

        with gateway.client(secret) as client:
            first = client.post(CHAT, json=hello(), headers=here)
            second = client.post(CHAT, json=hello(), headers=there)

        assert first.status_code == 200
        assert (second.status_code, reason(second)) == (409, "idempotency_key_reused")
        assert len(upstream.calls) == 1

    @pytest.mark.parametrize("word", ["", "x" * 256])
    def test_a_key_has_1_to_255_characters(
        self, client: httpx.Client, upstream: FakeUpstream, word: str
    ) -> None:
        response = client.post(CHAT, json=hello(), headers={"idempotency-key": word})

        assert (response.status_code, response.json()["error"]["param"]) == (
            400,
            "Idempotency-Key",
        )
        assert upstream.calls == []


def until_taken(own: psycopg.Connection[Any]) -> None:
    """Take the key away from whoever has it, as soon as there is one."""
    deadline = time.monotonic() + 30
    take = "update proxy_idempotencykey set request_id = gen_random_uuid()"
    while own.execute(take).rowcount == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestTwoAtOnce:
    def test_twenty_make_one_call(
        self, gateway: GatewayServer, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([fake.Pause(0.5), *fake.completion()])

        def post(_: int) -> httpx.Response:
            with gateway.client(shop.secret) as client:
                return client.post(CHAT, json=hello(), headers=KEY)

        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(post, range(20)))

        made = [answer for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len({answer.content for answer in made}) == 1
        assert {reason(answer) for answer in refused} <= {"idempotency_in_progress"}
        assert all(answer.status_code == 409 for answer in refused)
        assert all(int(answer.headers["retry-after-ms"]) > 0 for answer in refused)
        assert all(answer.headers["x-should-retry"] == "true" for answer in refused)
        assert len(upstream.calls) == 1
        assert (len(shop.usage), spent(shop)) == (1, COST)

    def test_who_was_held_up_for_so_long_that_another_has_the_key_makes_nothing(
        self, gateway: GatewayServer, upstream: FakeUpstream, shop: Shop
    ) -> None:
        def post() -> httpx.Response:
            with gateway.client(shop.secret) as client:
                return client.post(CHAT, json=hello(), headers=KEY)

        home = ledger.open_accounts(workspace_id=shop.workspace.pk).usd_id
        with ThreadPoolExecutor(1) as thread:
            with transaction.atomic():
                Account.objects.select_for_update().get(pk=home)
                held_up = thread.submit(post)
                with bank.connect() as other:
                    until_taken(other)
            answer = held_up.result()

        assert (answer.status_code, reason(answer)) == (409, "idempotency_in_progress")
        assert upstream.calls == []
        # The money goes back after the answer.
        deadline = time.monotonic() + 30
        while not shop.usage:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert (shop.last.state, shop.holds, spent(shop)) == ("voided", 0, 0)

    def test_twenty_after_a_failure_make_one_more(
        self, gateway: GatewayServer, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.error(400), [fake.Pause(0.3), *fake.completion()])
        with gateway.client(shop.secret) as client:
            assert client.post(CHAT, json=hello(), headers=KEY).status_code == 400

        def post(_: int) -> int:
            with gateway.client(shop.secret) as client:
                return client.post(CHAT, json=hello(), headers=KEY).status_code

        with ThreadPoolExecutor(20) as threads:
            codes = list(threads.map(post, range(20)))

        assert set(codes) <= {200, 409}
        assert 200 in codes
        assert len(upstream.calls) == 2
        assert spent(shop) == COST

    def test_the_official_sdk_waits_for_the_first(
        self, gateway: GatewayServer, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([fake.Pause(1.2), *fake.completion()])

        def ask(_: int) -> str:
            with openai.OpenAI(
                api_key=shop.secret, base_url=f"{gateway.url}/v1", max_retries=5
            ) as sdk:
                extra: dict[str, Any] = {"extra_headers": {"Idempotency-Key": "one"}}
                return str(sdk.chat.completions.create(**hello(), **extra).id)  # type: ignore[call-overload]

        with ThreadPoolExecutor(3) as threads:
            assert len(set(threads.map(ask, range(3)))) == 1
        assert len(upstream.calls) == 1


class TestAStream:
    def test_that_has_ended_is_not_repeated(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        first = client.post(CHAT, json=hello(stream=True), headers=KEY)

        again = client.post(CHAT, json=hello(stream=True), headers=KEY)

        assert first.text.endswith("data: [DONE]\n\n")
        assert (again.status_code, reason(again)) == (409, "idempotency_completed")
        assert again.json()["error"]["receipt_id"] == first.headers["x-request-id"]
        assert again.headers["x-should-retry"] == "false"
        assert len(upstream.calls) == 1

    def test_that_is_under_way_is_in_progress(
        self, client: httpx.Client, gateway: GatewayServer, upstream: FakeUpstream, shop: Shop
    ) -> None:
        asked = threading.Event()
        head, first, *others = fake.stream(["a"] * 3)
        upstream.script([head, first, others[0], fake.Gate(asked), *others[1:]])
        body = hello(stream=True)
        with client.stream("POST", CHAT, json=body, headers=KEY) as response:
            chunks = response.iter_bytes()
            next(chunks)
            with gateway.client(shop.secret) as other:
                again = other.post(CHAT, json=body, headers=KEY)
            asked.set()
            rest = b"".join(chunks)

        assert (again.status_code, reason(again)) == (409, "idempotency_in_progress")
        assert rest.endswith(b"data: [DONE]\n\n")

    def test_that_broke_off_and_was_billed_is_not_repeated(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.cut_at(fake.stream(["many", " words"]), 600))
        client.post(CHAT, json=hello(stream=True), headers=KEY)
        assert shop.last.charged > 0

        again = client.post(CHAT, json=hello(stream=True), headers=KEY)

        assert reason(again) == "idempotency_completed"


class TestAFailure:
    @pytest.mark.parametrize("stream", [False, True])
    def test_that_was_not_billed_frees_the_key(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, stream: bool
    ) -> None:
        upstream.script(fake.error(500), fake.stream() if stream else fake.completion())

        assert client.post(CHAT, json=hello(stream=stream), headers=KEY).status_code == 502
        assert not IdempotencyKey.objects.exists()
        assert client.post(CHAT, json=hello(stream=stream), headers=KEY).status_code == 200

    def test_frees_it_for_another_body_too(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.script(fake.error(500), fake.completion())
        client.post(CHAT, json=hello(), headers=KEY)

        assert client.post(CHAT, json=hello(temperature=1), headers=KEY).status_code == 200

    def test_before_the_hold_frees_it(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        shop.take("10")
        assert client.post(CHAT, json=hello(), headers=KEY).status_code == 402
        shop.fund("10")

        assert client.post(CHAT, json=hello(), headers=KEY).status_code == 200

    def test_over_the_rate_limit_frees_it(self, client: httpx.Client, shop: Shop) -> None:
        Tier.objects.update(default_rpm=1)
        shop.key.rpm = 1
        shop.key.save()
        client.post(CHAT, json=hello())

        assert client.post(CHAT, json=hello(), headers=KEY).status_code == 429
        assert not IdempotencyKey.objects.exists()
