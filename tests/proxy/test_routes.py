"""Which paths the gateway answers and which Django does: each its own, none both."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve
from django.urls.resolvers import RegexPattern, RoutePattern

from accounts import views_errors
from proxy.gateway import BARE, OWNED, SURFACES, find_surface, owns
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import hello

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
# What a reference lists, by hand, so that an endpoint which is lost is noticed.
BOTH_BASES = {
    "chat/completions": "POST",
    "completions": "POST",
    "responses": "POST",
    "embeddings": "POST",
    "images/generations": "POST",
    "models": "GET",
    "generation": "GET",
    "key": "GET",
    "credits": "GET",
}
LISTED = {
    **{
        f"{base}/{name}": method
        for base in ("/v1", "/api/v1")
        for name, method in BOTH_BASES.items()
    },
    "/api/v2/generate": "POST",
    "/api/v2/generate/status": "GET",
    "/api/ds-prototypes/chat/completions": "POST",
    "/api/ds-prototypes/health": "GET",
    "/livez": "GET",
}
UNKNOWN = (
    *("/v1", "/v1/", "/v1/audio/speech", "/v1/chat/completions/", "/v1/assistants", "/v1/files"),
    *(
        "/v1/fine_tuning/jobs",
        "/v1/moderations",
        "/v1/responses/resp_1",
        "/v1/Models",
        "/v1//models",
    ),
    *("/api/v2", "/api/v2/", "/api/v2/generate/", "/api/v2/keys", "/api/ds-prototypes"),
    *("/api/ds-prototypes/", "/api/ds-prototypes/completions", "/api/ds-prototypes/health/"),
)
DJANGOS = (
    *("/api/v1", "/api/v1/", "/api/v1/none", "/api/v1/chat", "/api/v1/chat/completions/"),
    *("/api/v1/models.json", "/api/v1/key/", "/api/v1/credits/", "/api/v1/assistants"),
)
PAGES = ("/", "/login", "/models", "/dashboard", "/v1x", "/api", "/api/v3/keys", "/livez/")


def patterns(holder: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield all of Django's patterns, each with an address that it takes."""
    for each in holder.url_patterns:
        address = before + example(each.pattern)
        if isinstance(each, URLResolver):
            yield from patterns(each, address)
        else:
            yield address, each


def example(pattern: object) -> str:
    """Return an address for one pattern: a word for each of its parameters."""
    if isinstance(pattern, RoutePattern):
        return re.sub(r"<[^>]+>", "1", str(pattern))
    assert isinstance(pattern, RegexPattern)
    text = re.sub(r"\(\?:/\.\*\)\?|\(\?P<\w+>[^)]*\)|[\^$]", "", str(pattern))
    return text.replace("\\", "")


class TestTheTwoTables:
    def test_the_gateways_has_what_is_listed(self) -> None:
        assert {path: method for path, (method, _) in SURFACES.items()} == LISTED

    def test_djangos_has_nothing_of_the_gateways(self) -> None:
        found = list(patterns(get_resolver()))

        assert len(found) > 20
        for address, pattern in found:
            assert not owns(f"/{address}"), address
            if address.startswith("api/v1"):
                assert not address.endswith("/"), pattern

    @pytest.mark.parametrize("path", [*LISTED, "/v1/models/a/b", "/api/v1/models/a/b", *UNKNOWN])
    def test_the_gateways_are_answered_by_no_page(self, path: str) -> None:
        assert owns(path)
        try:
            found = resolve(path)
        except Resolver404:
            return
        # Only what says that there is no such endpoint would take it, if it ever came there.
        assert found.func is views_errors.no_such_endpoint

    @pytest.mark.parametrize("path", [*DJANGOS, *PAGES])
    def test_the_others_are_djangos(self, path: str) -> None:
        assert not owns(path)
        assert find_surface(path) is None

    def test_whole_bases_are_the_gateways(self) -> None:
        assert {base.rstrip("/") for base in OWNED} == set(BARE)
        assert set(BARE) == {"/v1", "/api/v2", "/api/ds-prototypes"}


class TestOverTheWire:
    @pytest.mark.parametrize("key", [True, False], ids=["with a key", "without"])
    def test_what_does_not_exist_is_the_gateways_404(
        self, gateway: GatewayServer, client: httpx.Client, upstream: FakeUpstream, key: bool
    ) -> None:
        with gateway.client() as nobody:
            for path in UNKNOWN:
                for method in METHODS:
                    response = (client if key else nobody).request(method, path)
                    check_error(response, 404, "unsupported_endpoint", is_head=method == "HEAD")
        assert upstream.calls == []

    def test_another_method_is_405_and_says_which(self, client: httpx.Client) -> None:
        for path, allowed in (*LISTED.items(), ("/v1/models/openai/gpt-4o", "GET")):
            for method in METHODS:
                if method == allowed or (method, allowed) == ("HEAD", "GET"):
                    continue
                response = client.request(method, path)
                check_error(response, 405, "unsupported_endpoint", is_head=method == "HEAD")
                assert response.headers["allow"] == f"{allowed}, OPTIONS"

    def test_the_rest_of_api_v1_is_djangos_json(self, client: httpx.Client) -> None:
        for path in DJANGOS:
            for method in METHODS:
                response = client.request(method, path)
                assert response.status_code == 404, (method, path, response.text)
                assert response.headers["content-type"].startswith("application/json")
                assert "location" not in response.headers
                if method != "HEAD":
                    error = response.json()["error"]
                    assert (error["type"], error["code"]) == ("not_found", 404)
                    assert error["reason"] in ("not_found", "unsupported_endpoint")
                    assert response.headers["x-request-id"].startswith("req_")

    def test_a_page_is_no_json(self, client: httpx.Client) -> None:
        for path in PAGES:
            assert "application/json" not in client.get(path).headers["content-type"], path


class TestOtherOrigins:
    @pytest.mark.parametrize("path", [*LISTED, "/v1/models/openai/gpt-4o", "/v1/none"])
    def test_may_ask_first_without_a_key(self, gateway: GatewayServer, path: str) -> None:
        asked = {
            "origin": "https://app.example",
            "access-control-request-method": LISTED.get(path, "GET"),
            "access-control-request-headers": "authorization, content-type, idempotency-key",
        }
        with gateway.client() as nobody:
            response = nobody.options(path, headers=asked)

        assert (response.status_code, response.content) == (204, b"")
        methods = response.headers["access-control-allow-methods"].split(", ")
        assert LISTED.get(path, "GET") in methods
        # The star does not cover Authorization: https://fetch.spec.whatwg.org/#http-new-header-syntax
        allowed = response.headers["access-control-allow-headers"].split(", ")
        assert {"*", "authorization"} <= set(allowed)
        check_cors(response)

    def test_may_read_every_answer(self, client: httpx.Client, gateway: GatewayServer) -> None:
        chat = "/v1/chat/completions"
        with gateway.client() as nobody:
            answers = [
                client.post(chat, json=hello()),
                client.post(chat, json=hello(stream=True)),
                client.post(chat, json={}),
                nobody.post(chat, json=hello()),
                client.get("/v1/none"),
                client.get(chat),
                client.get("/v1/models"),
                client.get("/livez"),
            ]
        assert [each.status_code for each in answers] == [200, 200, 400, 401, 404, 405, 200, 200]
        for response in answers:
            check_cors(response)

    def test_may_not_read_pages_nor_manage(self, client: httpx.Client) -> None:
        for path in (*PAGES, *DJANGOS):
            headers = client.get(path, headers={"origin": "https://app.example"}).headers
            assert "access-control-allow-origin" not in headers, path


def check_error(response: httpx.Response, status: int, reason: str, *, is_head: bool) -> None:
    """Prove that this is the gateway's own error."""
    assert response.status_code == status, (response.url, response.text)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_")
    if not is_head:
        error = response.json()["error"]
        assert (error["code"], error["reason"]) == (status, reason)


def check_cors(response: httpx.Response) -> None:
    """Prove that every origin may read an answer, and its ids and limits, without cookies."""
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
    exposed = set(response.headers["access-control-expose-headers"].split(", "))
    limits = {f"x-ratelimit-{name}-requests" for name in ("limit", "remaining", "reset")}
    assert {"x-request-id", "retry-after", "retry-after-ms", "x-should-retry", *limits} <= exposed
    told = {name for name in response.headers if name.startswith(("x-ratelimit-", "x-tollgate-"))}
    assert told <= exposed, told - exposed
