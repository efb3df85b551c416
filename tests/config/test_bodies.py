"""No body of unknown size or pace gets as far as Django."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from config import bodies
from config.asgi import application
from proxy.guard import Message, Receive, Scope, Send

MEGABYTE = 1024 * 1024


class Exchange:
    """One request in pieces, through an application that tells what it was sent."""

    def __init__(self, *pieces: bytes, path: str = "/login", **headers: str) -> None:
        named = [(name.replace("_", "-"), text) for name, text in headers.items()]
        self.scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), text.encode()) for name, text in named],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "http_version": "1.1",
        }
        self.left = [
            {"type": "http.request", "body": piece, "more_body": at + 1 < len(pieces)}
            for at, piece in enumerate(pieces)
        ]
        self.read = 0
        self.sent: list[Message] = []
        self.served: bytes | None = None

    async def receive(self) -> Message:
        if not self.left:
            await asyncio.Event().wait()
        self.read += 1
        return self.left.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.served = b""
        while True:
            message = await receive()
            self.served += message["body"]
            if not message["more_body"]:
                return

    async def run(self, application: Any = None) -> None:
        await (application or bodies.Bounded(self.behind))(self.scope, self.receive, self.send)

    def asked(self, application: Any = None) -> None:
        """Run it to its end."""
        asyncio.run(self.run(application))

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return bytes(self.sent[1]["body"])


class TestBounded:
    def test_a_body_arrives_whole(self) -> None:
        exchange = Exchange(b"a=", b"1&", b"b=2", content_length="7")
        exchange.asked()

        assert exchange.served == b"a=1&b=2"

    def test_the_largest_body_arrives(self) -> None:
        exchange = Exchange(b"x" * MEGABYTE, transfer_encoding="chunked")
        exchange.asked()

        assert exchange.served == b"x" * MEGABYTE

    def test_a_body_that_says_it_is_too_large_is_not_read(self) -> None:
        exchange = Exchange(b"x", content_length=str(MEGABYTE + 1))
        exchange.asked()

        assert (exchange.status, exchange.read, exchange.served) == (413, 0, None)

    def test_a_body_that_becomes_too_large_is_read_no_further(self) -> None:
        pieces = [b"x" * 65536] * 100
        exchange = Exchange(*pieces, transfer_encoding="chunked")
        exchange.asked()

        assert (exchange.status, exchange.read, exchange.served) == (413, 17, None)

    def test_a_slow_body_is_refused(self, settings: Any) -> None:
        settings.BODY_TIMEOUT_S = 0.05
        exchange = Exchange(b"a=", content_length="3")
        exchange.left[0]["more_body"] = True
        exchange.asked()

        assert (exchange.status, exchange.served) == (408, None)

    def test_whoever_hangs_up_is_answered_nothing(self) -> None:
        exchange = Exchange(b"a=", content_length="3")
        exchange.left = [{"type": "http.disconnect"}]
        exchange.asked()

        assert (exchange.sent, exchange.served) == ([], None)

    def test_ambiguous_framing_is_refused(self) -> None:
        exchange = Exchange(b"a=1", content_length="3", transfer_encoding="chunked")
        exchange.asked()

        assert (exchange.status, exchange.served) == (400, None)


class TestRefuse:
    def test_programs_get_the_one_error_shape(self) -> None:
        exchange = Exchange(b"x", path="/api/v1/keys", content_length=str(MEGABYTE + 1))
        exchange.asked()
        error = json.loads(exchange.body)["error"]

        assert (error["code"], error["type"]) == (413, "payload_too_large")
        assert exchange.headers[b"content-type"] == b"application/json"
        assert exchange.headers[b"x-request-id"].startswith(b"req_")

    def test_people_get_a_page(self) -> None:
        exchange = Exchange(b"x", path="/login", content_length=str(MEGABYTE + 1))
        exchange.asked()

        assert exchange.headers[b"content-type"] == b"text/html; charset=utf-8"
        assert exchange.headers[b"connection"] == b"close"
        assert b"larger than 1 MB" in exchange.body
        assert exchange.headers[b"x-request-id"] in exchange.body


class TestApplication:
    @pytest.mark.parametrize(
        "path", ["/api/v1/keys", "/login", "/admin/login/", "/webhooks/stripe", "/nothing"]
    )
    def test_every_path_of_django_is_behind_it(self, path: str) -> None:
        exchange = Exchange(b"x", path=path, content_length=str(MEGABYTE + 1))
        exchange.asked(application)

        assert (exchange.status, exchange.read) == (413, 0)


class TestAddresses:
    @pytest.mark.parametrize(
        ("path", "query"),
        [("/top-ups/\0", b""), ("/api/v1/keys/a\0b", b""), ("/models", b"search=a%00b")],
    )
    def test_a_null_character_is_refused_before_the_database_sees_it(
        self, path: str, query: bytes
    ) -> None:
        exchange = Exchange(b"", path=path)
        exchange.scope["method"] = "GET"
        exchange.scope["query_string"] = query
        exchange.asked(application)

        assert exchange.status == 400
        assert b"null character" in exchange.sent[1]["body"]
