"""Every paid endpoint makes a request once that carries an ``Idempotency-Key``."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from accounts.scopes import INFERENCE
from billing import grants, invariants
from billing.pricing import Rates
from common import money
from proxy.gateway import SURFACES
from proxy.models import IdempotencyKey
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess, GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello
from tests.proxy.surfaces.conftest import Sell

CHAT = "/v1/chat/completions"
PAID = sorted(path for path, (method, _) in SURFACES.items() if method == "POST")
BODIES: dict[str, dict[str, Any]] = {
    "/chat/completions": hello(),
    "/v1/completions": {"model": "test/tokens", "prompt": "Say hello."},
    "/v1/responses": {"model": "test/tokens", "input": "Say hello."},
    "/v1/embeddings": {"model": "test/embedding", "input": "hello"},
    "/v1/images/generations": {"model": "test/image", "prompt": "a cat"},
    "/api/v2/generate": hello(),
}
LIMITS = {f"x-ratelimit-{name}-requests" for name in ("limit", "remaining", "reset")}


def body_of(path: str, **more: object) -> dict[str, Any]:
    """Return what an endpoint takes."""
    [body] = [body for end, body in BODIES.items() if path.endswith(end)]
    return {**body, **more}


def key_of(path: str) -> dict[str, str]:
    """Return the header; the two addresses of one endpoint share its keys."""
    return {"idempotency-key": f"once {path}"}


def post(client: httpx.Client, path: str, **more: object) -> httpx.Response:
    """Call an endpoint with the one key that it has here."""
    return client.post(path, json=body_of(path, **more), headers=key_of(path))


STREAMED = [path for path in PAID if not path.endswith("/embeddings")]


def answered(call: fake.Call) -> fake.Reply:
    """Answer as the endpoint does, streamed or not."""
    if call.path.endswith("/embeddings"):
        vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return fake.answer({"object": "list", "data": [vector], "usage": usage})
    if call.path.endswith("/images/generations"):
        picture = {"b64_json": "aGk="}
        if not call.stream:
            return fake.answer({"created": 1, "data": [picture]})
        made = {"type": "image_generation.completed", "created_at": 1, **picture}
        return [fake.STREAM_HEAD, fake.event(made)]
    return fake.default_reply(call)


def held_until(opened: threading.Event) -> fake.Script:
    """Answer once it is opened."""
    return lambda call: [fake.Gate(opened), *answered(call)]


@pytest.fixture
def models(shop: Shop, sell: Sell, upstream: FakeUpstream) -> None:
    grants.grant(workspace=shop.workspace, asset="TOK", amount=300, reason="test")
    sell("test/embedding", kind="embedding", rates=Rates(prompt=1_000_000), context_length=100)
    sell("test/image", kind="image", rates=Rates(per_call=money.pico_from_usd("0.05")))
    upstream.script(answered)


@pytest.fixture
def key(shop: Shop) -> str:
    _, secret = shop.new_key(name="all", scopes=sorted(INFERENCE), rpm=600)
    return secret


def told(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the reason of a refusal."""
    return response.status_code, response.json()["error"]["reason"]


class TestEveryEndpoint:
    def test_answers_a_second_request_from_the_first(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        for path in PAID:
            upstream.calls.clear()
            billed = len(shop.usage)
            first, again = post(client, path), post(client, path)

            assert first.status_code == 200, (path, first.text)
            assert (again.status_code, again.content) == (200, first.content), path
            assert (len(upstream.calls), len(shop.usage) - billed) == (1, 1), path
            for name in ("x-request-id", "content-type", "content-length"):
                assert again.headers[name] == first.headers[name], (path, name)
            assert "idempotent-replayed" not in first.headers
            assert again.headers["idempotent-replayed"] == "true"
            # It costs no request of the key's minute, and no provider was called for it.
            assert first.headers.keys() & LIMITS == again.headers.keys() & LIMITS == LIMITS
            left = [int(r.headers["x-ratelimit-remaining-requests"]) for r in (first, again)]
            assert left[1] >= left[0], path
            assert {name for name in first.headers if name.startswith("x-tollgate-")}
            assert not {name for name in again.headers if name.startswith("x-tollgate-")}
        assert invariants.check().ok

    def test_refuses_another_body(self, client: httpx.Client, upstream: FakeUpstream) -> None:
        for path in PAID:
            upstream.calls.clear()
            post(client, path)
            other = post(client, path, user="another")

            assert told(other) == (409, "idempotency_key_reused"), path
            assert other.headers["x-should-retry"] == "false"
            assert len(upstream.calls) == 1, path

    def test_asks_to_wait_for_one_in_flight(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        with ThreadPoolExecutor(1) as threads:
            for n, path in enumerate(PAID, start=1):
                asked = threading.Event()
                upstream.script(held_until(asked))
                first = threads.submit(post, client, path)
                try:
                    upstream.wait_for_calls(n)
                    again = post(client, path)
                finally:
                    asked.set()

                assert told(again) == (409, "idempotency_in_progress"), path
                assert int(again.headers["retry-after-ms"]) > 0
                assert int(again.headers["retry-after"]) >= 1
                assert again.headers["x-should-retry"] == "true"
                assert first.result().status_code == 200, path
        assert len(upstream.calls) == len(shop.usage) == len(PAID)

    def test_does_not_repeat_a_stream_that_has_ended(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        for path in STREAMED:
            upstream.calls.clear()
            first, again = (post(client, path, stream=True) for _ in range(2))

            assert first.headers["content-type"].startswith("text/event-stream"), first.text
            assert told(again) == (409, "idempotency_completed"), path
            assert again.json()["error"]["receipt_id"] == first.headers["x-request-id"]
            assert again.headers["x-should-retry"] == "false"
            assert len(upstream.calls) == 1, path

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_makes_again_what_failed_and_was_not_billed(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, stream: bool
    ) -> None:
        for path in STREAMED if stream else PAID:
            more = {"stream": True} if stream else {}
            taken = IdempotencyKey.objects.count()
            upstream.script(fake.error(500))
            failed = post(client, path, **more)
            assert IdempotencyKey.objects.count() == taken, path
            upstream.script(answered)
            made = post(client, path, **more)

            assert told(failed) == (502, "upstream_failed"), path
            assert made.status_code == 200, (path, made.text)
            assert "idempotent-replayed" not in made.headers
            assert shop.holds == 0


class TestTwoProcesses:
    def test_make_one_call_of_twenty(
        self, gateway: GatewayServer, key: str, upstream: FakeUpstream, shop: Shop
    ) -> None:
        refusal = threading.Event()
        upstream.script(held_until(refusal))

        def ask(url: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {key}", **key_of(CHAT)}
            terms: dict[str, Any] = {"timeout": 60, "trust_env": False}
            answer = httpx.post(f"{url}{CHAT}", json=hello(), headers=headers, **terms)
            if answer.status_code == 409:
                refusal.set()
            return answer

        with GatewayProcess() as other, ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(ask, [gateway.url, other.url] * 10))
            later = [ask(gateway.url), ask(other.url)]

        made = [answer for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len({answer.content for answer in (*made, *later)}) == 1
        assert all(answer.headers["idempotent-replayed"] == "true" for answer in later)
        assert {told(answer) for answer in refused} == {(409, "idempotency_in_progress")}
        assert len(upstream.calls) == len(shop.usage) == 1
