"""
Nothing of a caller reaches a provider, nothing of a provider reaches a caller.

Every surface is called with canaries in all its headers, while the provider answers well or
fails in every way that there is, with canaries in its headers, ids, names and errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.test import override_settings

from billing import grants
from billing.pricing import Rates
from common import money
from proxy.gateway import SURFACES
from proxy.models import Model, Provider, Route
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, make_provider

CALLERS = "callers-canary"
UPSTREAMS = "upstreams-canary"
PROVIDER_KEY = "upstream-key"
TRAVELS_ON = {
    *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent"),
    *("x-request-id", "connection"),
}
SECRETS = {"authorization", "x-api-key", "x-goog-api-key", "anthropic-version"}
COMES_BACK = {
    *("content-type", "content-length", "transfer-encoding", "connection", "date", "cache-control"),
    *("x-accel-buffering", "x-request-id", "x-should-retry", "retry-after", "retry-after-ms"),
    *("access-control-allow-origin", "access-control-expose-headers", "server"),
}
PREFIXES = ("x-ratelimit-", "x-tollgate-")
CALLERS_HEADERS = {
    name: f"{CALLERS}-{name}"
    for name in (
        *("cookie", "user-agent", "referer", "origin", "from", "traceparent", "baggage", "via"),
        *("openai-organization", "openai-project", "openai-beta", "anthropic-beta"),
        *("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "x-request-id"),
        *("x-stainless-lang", "http-referer", "x-title", "proxy-authorization", "x-custom"),
        *("accept-language", "x-goog-user-project", "x-tollgate-custom"),
    )
}
UPSTREAMS_HEADERS = {
    name: f"{UPSTREAMS}-{name}"
    for name in (
        *("set-cookie", "server", "x-request-id", "openai-organization", "request-id", "via"),
        *("openai-processing-ms", "x-ratelimit-limit-requests", "x-ratelimit-reset-tokens"),
        *("cf-ray", "location", "www-authenticate", "x-custom", "etag", "alt-svc"),
    )
}
MESSAGES = [{"role": "user", "content": "Say hello."}]
CHAT: dict[str, Any] = {"model": "canary/chat", "messages": MESSAGES}
# Each paid endpoint: a body, and whether it streams.
BODIES: dict[str, tuple[dict[str, Any], bool]] = {
    "/api/v2/generate": (CHAT, True),
    "/api/ds-prototypes/chat/completions": (CHAT, True),
    **{
        f"{base}/{name}": body
        for base in ("/v1", "/api/v1")
        for name, body in {
            "chat/completions": (CHAT, True),
            "completions": ({"model": "canary/chat", "prompt": "Say hello."}, True),
            "responses": ({"model": "canary/chat", "input": "Say hello."}, True),
            "embeddings": ({"model": "canary/vectors", "input": "hello"}, False),
            "images/generations": ({"model": "canary/pictures", "prompt": "a cat"}, True),
        }.items()
        if f"{base}/{name}" in SURFACES
    },
}
ASKED = [
    (path, stream) for path, (_, can) in BODIES.items() for stream in ([False, True][: 1 + can])
]
PICTURE = {"b64_json": "aGVsbG8="}


def told(reply: fake.Reply) -> fake.Reply:
    """Return a reply with canaries in its headers."""
    head, *rest = reply
    assert isinstance(head, fake.Head)
    canaries = tuple(UPSTREAMS_HEADERS.items())
    return [fake.Head(head.status, (*head.headers, *canaries)), *rest]


def good(call: fake.Call) -> fake.Reply:
    """Answer as the endpoint does, with canaries in its ids and names."""
    names: dict[str, Any] = {
        "id": f"{UPSTREAMS}-id",
        "model": f"{UPSTREAMS}-model",
        "provider": UPSTREAMS,
    }
    path = call.path.partition("?")[0]
    if path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        return told(fake.answer({"object": "list", "data": data, "usage": usage, **names}))
    if path.endswith("/images/generations"):
        if not call.stream:
            return told(fake.answer({"created": 1, "data": [PICTURE], "id": names["id"]}))
        event = {"type": "image_generation.completed", **PICTURE, "created_at": 1}
        return told([fake.STREAM_HEAD, fake.event(event)])
    if not call.stream:
        return told(fake.completion("hello", **names))
    chunks = [
        fake.chunk({"role": "assistant", "content": ""}, **names),
        fake.chunk({"content": "hello"}, **names),
        fake.chunk({}, finish_reason="stop", **names),
        fake.chunk(choices=[], usage=fake.usage(10, 1), **names),
    ]
    return told(fake.events(chunks))


def refusal(status: int, code: str | None = None) -> Callable[[fake.Call], fake.Reply]:
    """Return an error full of canaries."""
    return lambda call: told(
        fake.error(status, f"{UPSTREAMS} at {call.headers['host']}", kind=UPSTREAMS, code=code)
    )


def error_inside(call: fake.Call) -> fake.Reply:
    error = {"error": {"message": UPSTREAMS, "type": UPSTREAMS, "code": UPSTREAMS}}
    return told([fake.STREAM_HEAD, fake.event(error)] if call.stream else fake.answer(error))


def error_after_content(call: fake.Call) -> fake.Reply:
    error = {"error": {"message": UPSTREAMS, "type": UPSTREAMS, "code": UPSTREAMS}}
    start = fake.event(fake.chunk({"content": "hello"}, id=f"{UPSTREAMS}-id"))
    return told([fake.STREAM_HEAD, start, fake.Pause(0.01), fake.event(error)])


def cut(size: int) -> Callable[[fake.Call], fake.Reply]:
    return lambda call: fake.cut_at(good(call), size, reset=False)


FAILURES: dict[str, Callable[[fake.Call], fake.Reply]] = {
    "none": good,
    "usage missing": lambda call: told(fake.completion("hello", with_usage=False)),
    **{str(status): refusal(status) for status in (400, 401, 402, 403, 404, 408, 409, 413)},
    **{str(status): refusal(status) for status in (422, 429, 500, 502, 503, 504, 529, 301, 204)},
    "context": refusal(400, "context_length_exceeded"),
    "filter": refusal(400, "content_filter"),
    "error inside": error_inside,
    "error after content": error_after_content,
    "not JSON": lambda call: told(fake.answer(f"<html>{UPSTREAMS}</html>".encode())),
    "not an answer": lambda call: told(fake.answer({"detail": UPSTREAMS})),
    "no stream": lambda call: told(fake.garbage(UPSTREAMS.encode())),
    "cut at once": lambda call: fake.hang_up(),
    "cut early": cut(20),
    "cut late": cut(260),
    "silence": lambda call: fake.silence(),
}


@pytest.fixture
def canary_shop(shop: Shop, add_model: AddModel, upstream: FakeUpstream) -> Shop:
    """Sell one model of each kind; nothing of a provider's is in their own names."""
    rates = Rates(prompt=1_000_000, completion=2_000_000)
    add_model("canary/chat", rates=rates)
    add_model("canary/vectors", rates=rates)
    add_model("canary/pictures", rates=Rates(per_call=money.pico_from_usd("0.01")))
    Model.objects.filter(slug="canary/vectors").update(kind="embedding")
    Model.objects.filter(slug="canary/pictures").update(kind="image")
    Route.objects.update(upstream_model=f"{UPSTREAMS}-route")
    Provider.objects.update(on_disconnect="cancel")
    grants.grant(workspace=shop.workspace, asset="TOK", amount=100_000, reason="test")
    shop.key, shop.secret = shop.new_key(scopes=["chat", "embeddings", "images"], rpm=600)
    return shop


@pytest.fixture
def caller(canary_shop: Shop) -> Iterator[httpx.Client]:
    with (
        override_settings(FIRST_BYTE_TIMEOUT_S=0.2, IDLE_TIMEOUT_S=0.2),
        GatewayServer() as gateway,
        gateway.client(canary_shop.secret) as client,
    ):
        client.headers.update(CALLERS_HEADERS)
        yield client


def check_upstream(calls: list[fake.Call], *, secret: str, key_header: str) -> None:
    """Prove that nothing of a caller arrived."""
    for call in calls:
        assert call.headers.keys() <= TRAVELS_ON | SECRETS
        assert PROVIDER_KEY in call.headers[key_header]
        everything = (call.path + json.dumps(call.headers)).lower() + call.raw.decode().lower()
        assert CALLERS not in everything
        assert secret.lower() not in everything


def check_answer(response: httpx.Response, upstream: FakeUpstream) -> None:
    """Prove that nothing of a provider arrived."""
    names = {name for name in response.headers if not name.startswith(PREFIXES)}
    assert names <= COMES_BACK, names - COMES_BACK
    everything = json.dumps(response.headers.multi_items()).lower() + response.text.lower()
    for canary in (UPSTREAMS, PROVIDER_KEY, upstream.url.removeprefix("http://")):
        assert canary not in everything, (canary, everything)


class TestEverySurface:
    def test_is_listed_here(self) -> None:
        paid = {path for path, (method, _) in SURFACES.items() if method == "POST"}
        assert paid == set(BODIES)

    @pytest.mark.parametrize(("path", "stream"), ASKED)
    def test_lets_no_canary_through(
        self,
        canary_shop: Shop,
        caller: httpx.Client,
        upstream: FakeUpstream,
        path: str,
        stream: bool,
    ) -> None:
        body = BODIES[path][0] | ({"stream": True} if stream else {})
        for name, reply in FAILURES.items():
            upstream.reset()
            upstream.script(reply)
            response = caller.post(path, json=body)
            assert upstream.calls, (name, response.text)
            if name == "none":
                assert response.status_code == 200, response.text
            check_upstream(upstream.calls, secret=canary_shop.secret, key_header="authorization")
            check_answer(response, upstream)
        assert canary_shop.holds == 0

    @pytest.mark.parametrize(
        ("kind", "key_header"), [("anthropic", "x-api-key"), ("gemini", "x-goog-api-key")]
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_nor_does_a_provider_of_another_kind(
        self,
        canary_shop: Shop,
        upstream: FakeUpstream,
        add_model: AddModel,
        kind: str,
        key_header: str,
        stream: bool,
    ) -> None:
        other = make_provider("other", upstream.base_url, kind=kind)
        add_model("canary/other", rates=Rates(prompt=1), providers=(other,))
        body = {"model": "canary/other", "messages": MESSAGES, "stream": stream}
        with (
            override_settings(FIRST_BYTE_TIMEOUT_S=0.2),
            GatewayServer() as gateway,
            gateway.client(canary_shop.secret) as client,
        ):
            client.headers.update(CALLERS_HEADERS)
            for reply in FAILURES.values():
                upstream.reset()
                upstream.script(reply)
                response = client.post("/v1/chat/completions", json=body)
                check_upstream(upstream.calls, secret=canary_shop.secret, key_header=key_header)
                check_answer(response, upstream)


class TestTheReceipt:
    def test_has_the_upstreams_id_and_nothing_else_of_it(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        for reply, known in ((good, f"{UPSTREAMS}-id"), (refusal(500), None)):
            upstream.script(reply)
            call = caller.post("/v1/chat/completions", json=CHAT).headers["x-request-id"]
            response = caller.get("/v1/generation", params={"id": call})
            data = response.json()["data"]
            assert data["attempts"][-1].pop("upstream_id") == known
            assert data["provider_responses"][-1].pop("id") == known
            assert data.pop("upstream_id") == known
            # Which model a provider was asked for is on the receipt too.
            assert data["attempts"][-1].pop("upstream_model") == f"{UPSTREAMS}-route"
            assert data["provider_responses"][-1].pop("model_permaslug") == f"{UPSTREAMS}-route"
            assert UPSTREAMS not in json.dumps(data)
            assert upstream.url.removeprefix("http://") not in json.dumps(data)
