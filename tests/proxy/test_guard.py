"""The edge, by raw sockets: sizes, framing, slow and compressed bodies, methods, CORS."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest
from django.test import override_settings

from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello


def raw(gateway: GatewayServer, request: bytes, *, wait_s: float = 30) -> bytes:
    """Send bytes as they are; return what comes until the other side closes or is silent."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait_s) as connection:
        connection.sendall(request)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer and b"}}" in answer:
                    break
        except TimeoutError:
            pass
        return answer


def head(key: str, *lines: str) -> bytes:
    fields = ["POST /v1/chat/completions HTTP/1.1", "host: x", f"authorization: Bearer {key}"]
    return "\r\n".join([*fields, *lines, "", ""]).encode()


def told(answer: bytes) -> tuple[int, str]:
    """Return status and reason of an answer."""
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    return int(answer.split(b" ", 2)[1]), body["error"]["type"]


class TestBodies:
    def test_declared_too_large_is_413_before_it_is_sent(
        self, gateway: GatewayServer, shop: Shop
    ) -> None:
        answer = raw(gateway, head(shop.secret, "content-length: 60000000"))

        assert told(answer) == (413, "payload_too_large")

    def test_counted_too_large_is_413(self, gateway: GatewayServer, shop: Shop) -> None:
        with gateway.client(shop.secret) as client:
            parts = (b"x" * 1_000_000 for _ in range(30))
            response = client.post("/v1/chat/completions", content=parts)

        assert response.status_code == 413

    def test_without_a_key_nothing_of_the_body_is_read(self, gateway: GatewayServer) -> None:
        answer = raw(gateway, head("junk", "content-length: 1000000"))

        assert told(answer) == (401, "unauthorized")
        assert b"connection: close" in answer

    def test_slow_is_408(self, shop: Shop) -> None:
        with override_settings(BODY_TIMEOUT_S=0.3), GatewayServer() as gateway:
            answer = raw(gateway, head(shop.secret, "content-length: 100") + b'{"mod')

        assert told(answer) == (408, "request_timeout")

    def test_compressed_is_415(self, gateway: GatewayServer, shop: Shop) -> None:
        answer = raw(
            gateway, head(shop.secret, "content-length: 4", "content-encoding: gzip") + b"abcd"
        )

        assert told(answer) == (415, "unsupported_media_type")

    def test_two_framings_are_400(
        self, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        request = head(shop.secret, "content-length: 4", "transfer-encoding: chunked")
        answer = raw(gateway, request + b"0\r\n\r\n" + head(shop.secret))

        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert upstream.calls == []

    def test_cut_short_costs_nothing(
        self, gateway: GatewayServer, shop: Shop, upstream: FakeUpstream
    ) -> None:
        host, port = gateway.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head(shop.secret, "content-length: 500") + b'{"model":')
        time.sleep(0.2)

        assert (shop.usage, shop.holds, upstream.calls) == ([], 0, [])


class TestPaths:
    @pytest.mark.parametrize(
        ("method", "path", "status", "reason"),
        [
            ("GET", "/v1/chat/completions", 405, "unsupported_endpoint"),
            ("POST", "/v1/audio/speech", 404, "unsupported_endpoint"),
            ("POST", "/v1", 404, "unsupported_endpoint"),
            ("GET", "/v1/", 404, "unsupported_endpoint"),
            ("POST", "/api/v2/unknown", 404, "unsupported_endpoint"),
            ("POST", "/api/ds-prototypes/unknown", 404, "unsupported_endpoint"),
            ("DELETE", "/v1/models/test/tokens", 405, "unsupported_endpoint"),
            ("GET", "/api/v1/nothing-here", 404, "not_found"),
        ],
    )
    def test_unknown_ones_are_json(
        self, client: httpx.Client, method: str, path: str, status: int, reason: str
    ) -> None:
        response = client.request(method, path)

        assert response.status_code == status
        assert response.json()["error"]["reason"] == reason
        assert response.headers["x-request-id"]

    @pytest.mark.parametrize("base", ["/v1", "/api/v1"])
    def test_both_bases_serve(self, client: httpx.Client, base: str) -> None:
        assert client.post(f"{base}/chat/completions", json=hello()).status_code == 200
        assert client.get(f"{base}/models").json()["object"] == "list"

    def test_a_browser_may_ask_first_without_a_key(self, gateway: GatewayServer) -> None:
        with gateway.client() as client:
            response = client.options("/v1/chat/completions", headers={"origin": "https://x.y"})

        assert response.status_code == 204
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers

    def test_livez_needs_nothing(self, gateway: GatewayServer) -> None:
        with gateway.client() as client:
            assert client.get("/livez").json() == {"status": "ok"}
            assert client.head("/livez").content == b""

    def test_django_serves_the_rest(self, gateway: GatewayServer) -> None:
        with gateway.client() as client:
            assert client.get("/login").status_code == 200
