"""
Nothing of a caller reaches a provider, nothing of a provider reaches a caller.

Every surface is called with canaries in all its headers, while providers of every kind answer
well or fail in every way that there is, with canaries in their headers, ids, names and errors
and in every object that they send.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from tests.fakes.addresses import UNREACHABLE
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.fakes.worker import WorkerProcess
from tests.proxy import canaries
from tests.proxy.canaries import CANARY, NAMES, RETRY_AFTER_S, TOOL_CALL_ID, VENDORS, Vendor
from tests.proxy.conftest import AddModel, Shop, make_provider
from tests.proxy.neuralbox import ended

CALLERS = "callers-canary"
PROVIDER_KEY = "upstream-key"
TRAVELS_ON = {
    *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent"),
    *("x-request-id", "connection", "anthropic-version"),
}
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
        *("accept-language", "x-goog-user-project", "x-tollgate-custom", "anthropic-version"),
    )
}
CHAT: dict[str, Any] = {
    "model": "canary/chat",
    "messages": [{"role": "user", "content": "Say hello."}],
    "provider": {"ignore": [CALLERS]},
}
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
    },
}
OF_CHATS = [path for path, (body, _) in BODIES.items() if body["model"] == "canary/chat"]
# One surface has two addresses; a provider of another kind is tried through one of them.
MATRIX = [
    pytest.param(path, vendor, id=f"{path}-{vendor.kind}")
    for vendor in VENDORS
    for path in BODIES
    if vendor.kind == "openai" or (path in OF_CHATS and not path.startswith("/api/v1/"))
]
LOOKED_AT = {
    *(f"{base}/{name}" for base in ("/v1", "/api/v1") for name in ("models", "key", "credits")),
    *("/api/ds-prototypes/health", "/livez"),
}
OF_ONE_CALL = {"/api/v2/generate/status", "/v1/generation", "/api/v1/generation"}


@pytest.fixture
def canary_shop(shop: Shop, add_model: AddModel) -> Shop:
    """Sell one model of each kind; nothing of a provider's is in their own names."""
    rates = Rates(prompt=1_000_000, completion=2_000_000)
    add_model("canary/chat", rates=rates)
    add_model("canary/vectors", rates=rates)
    add_model("canary/pictures", rates=Rates(per_call=money.pico_from_usd("0.01")))
    Model.objects.filter(slug="canary/vectors").update(kind="embedding")
    Model.objects.filter(slug="canary/pictures").update(kind="image")
    Route.objects.update(upstream_model=f"{CANARY}-route")
    Provider.objects.update(on_disconnect="cancel")
    grants.grant(workspace=shop.workspace, asset="TOK", amount=100_000, reason="test")
    scopes = ["chat", "embeddings", "images", "models:read", "usage:read", "billing:read"]
    shop.key, shop.secret = shop.new_key(scopes=scopes, rpm=600)
    return shop


@contextmanager
def calling(shop: Shop, *, connect_timeout_s: float = 5) -> Iterator[httpx.Client]:
    """Give a client whose every header is a canary."""
    with (
        override_settings(CONNECT_TIMEOUT_S=connect_timeout_s),
        GatewayServer() as gateway,
        gateway.client(shop.secret) as client,
    ):
        client.headers.update(CALLERS_HEADERS)
        yield client


def patience(way: str) -> override_settings:
    """Let the gateway wait as long as ever, but not where there is nothing to wait for."""
    wait_s = 0.1 if "silence" in way else 60
    return override_settings(FIRST_BYTE_TIMEOUT_S=wait_s, IDLE_TIMEOUT_S=wait_s)


@pytest.fixture
def caller(canary_shop: Shop) -> Iterator[httpx.Client]:
    with calling(canary_shop) as client:
        yield client


def check_upstream(calls: list[fake.Call], *, secret: str, key_header: str) -> None:
    """Prove that nothing of a caller arrived."""
    for call in calls:
        assert call.headers.keys() <= TRAVELS_ON | {key_header}
        assert PROVIDER_KEY in call.headers[key_header]
        everything = (call.path + json.dumps(call.headers)).lower() + call.raw.decode().lower()
        assert CALLERS not in everything
        assert secret.lower() not in everything


def check_answer(response: httpx.Response, *addresses: str) -> None:
    """Prove that nothing of a provider arrived."""
    names = {name for name in response.headers if not name.startswith(PREFIXES)}
    assert names <= COMES_BACK, names - COMES_BACK
    everything = json.dumps(response.headers.multi_items()).lower() + response.text.lower()
    hosts = (address.removeprefix("http://") for address in addresses)
    for canary in (CANARY, PROVIDER_KEY, RETRY_AFTER_S, *hosts):
        assert canary not in everything, (canary, everything)


def check_content(response: httpx.Response, path: str, vendor: Vendor) -> None:
    """Prove that what a caller may see of a good answer did arrive."""
    assert response.status_code == 200, response.text
    wanted: list[str] = []
    if path.endswith(("chat/completions", "responses")):
        wanted += ["llo", TOOL_CALL_ID, "weather"]
    if path.endswith("chat/completions"):
        wanted += ["hmm"]
        if vendor.kind == "openai":
            wanted += ["url_citation", "image_url", "top_logprobs"]
    for word in wanted:
        assert word in response.text


class TestEverySurface:
    def test_is_listed_here(self) -> None:
        paid = {path for path, (method, _) in SURFACES.items() if method == "POST"}
        assert paid == set(BODIES)

    @pytest.mark.parametrize(("path", "vendor"), MATRIX)
    def test_lets_no_canary_through(
        self, canary_shop: Shop, upstream: FakeUpstream, path: str, vendor: Vendor
    ) -> None:
        body, can_stream = BODIES[path]
        Provider.objects.update(kind=vendor.kind, base_url=f"{upstream.url}{vendor.base}")
        secret = canary_shop.secret
        with calling(canary_shop) as caller:
            for stream in (False, True)[: 1 + can_stream]:
                asked = body | ({"stream": True} if stream else {})
                for way, reply in canaries.failures(vendor).items():
                    upstream.reset()
                    upstream.script(reply)
                    with patience(way):
                        response = caller.post(path, json=asked, params={"trace": CALLERS})
                    assert upstream.calls, (way, response.text)
                    if way == "none":
                        check_content(response, path, vendor)
                    check_upstream(upstream.calls, secret=secret, key_header=vendor.key_header)
                    check_answer(response, upstream.url)
        assert canary_shop.holds == 0

    @pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.kind)
    def test_tells_no_address_that_cannot_be_reached(
        self, canary_shop: Shop, add_model: AddModel, vendor: Vendor
    ) -> None:
        kinds = {"chat": "chat", "vectors": "embedding", "pictures": "image"}
        with ExitStack() as stack:
            addresses = [stack.enter_context(each()) for each in UNREACHABLE.values()]
            for n, address in enumerate(addresses):
                other = make_provider(f"other{n}", f"{address}/base", kind=vendor.kind)
                for name, kind in kinds.items():
                    rates = Rates(per_call=1)
                    model = add_model(f"canary/{name}{n}", rates=rates, providers=(other,))
                    Model.objects.filter(pk=model.pk).update(kind=kind)
            caller = stack.enter_context(calling(canary_shop, connect_timeout_s=0.1))
            for path, (body, can_stream) in BODIES.items():
                if vendor.kind != "openai" and path not in OF_CHATS:
                    continue
                for n, way in enumerate(UNREACHABLE):
                    for stream in (False, True)[: 1 + can_stream]:
                        asked = {**body, "model": f"{body['model']}{n}", "stream": stream}
                        response = caller.post(path, json=asked)
                        assert response.status_code == 502, (path, way, response.text)
                        check_answer(response, *addresses)
        assert canary_shop.holds == 0


class TestAGenerationInTheBackground:
    def test_lets_no_canary_through(self, canary_shop: Shop, upstream: FakeUpstream) -> None:
        secret = canary_shop.secret
        impatient = dict.fromkeys(("FIRST_BYTE_TIMEOUT_S", "IDLE_TIMEOUT_S"), "1")
        with calling(canary_shop) as caller, WorkerProcess(**impatient):
            for way, reply in canaries.failures(VENDORS[0]).items():
                upstream.reset()
                upstream.script(reply)
                submitted = caller.post("/api/v2/generate", json=CHAT | {"async": True})
                check_answer(submitted, upstream.url)
                told = ended(caller, submitted.json()["id"])
                assert (told["status"] == "completed") is (way == "none"), (way, told)
                params = {"id": told["id"]}
                status = caller.get("/api/v2/generate/status", params=params)
                check_answer(status, upstream.url)
                assert upstream.calls
                check_upstream(upstream.calls, secret=secret, key_header="authorization")
        assert canary_shop.holds == 0


class TestWhatCostsNothing:
    def test_is_listed_here(self) -> None:
        free = {path for path, (method, _) in SURFACES.items() if method == "GET"}
        assert free - OF_ONE_CALL == LOOKED_AT

    def test_asks_no_provider_and_names_none(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        for path in (*LOOKED_AT, "/v1/models/canary/chat", "/v1/models/none"):
            response = caller.get(path, params={"trace": CALLERS})
            assert response.status_code == (404 if path.endswith("none") else 200), response.text
            check_answer(response, upstream.url)
        assert upstream.calls == []


class TestTheReceipt:
    def test_has_the_upstreams_id_and_nothing_else_of_it(
        self, caller: httpx.Client, upstream: FakeUpstream
    ) -> None:
        ways = canaries.failures(VENDORS[0])
        for reply, known in ((ways["none"], NAMES["id"]), (ways["500"], None)):
            upstream.script(reply)
            call = caller.post("/v1/chat/completions", json=CHAT).headers["x-request-id"]
            response = caller.get("/v1/generation", params={"id": call})
            data = response.json()["data"]
            assert data["attempts"][-1].pop("upstream_id") == known
            assert data["provider_responses"][-1].pop("id") == known
            assert data.pop("upstream_id") == known
            # Which model a provider was asked for is on the receipt too.
            assert data["attempts"][-1].pop("upstream_model") == f"{CANARY}-route"
            assert data["provider_responses"][-1].pop("model_permaslug") == f"{CANARY}-route"
            assert CANARY not in json.dumps(data)
            assert upstream.url.removeprefix("http://") not in json.dumps(data)
