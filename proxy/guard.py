"""
The edge of the gateway, in front of any parsing: headers, sizes, time, the caller's side.

Django under ASGI would spool a whole body to disk before any check; here nothing of the
body is read before the key is known, and no more of it than the surface allows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from uuid import UUID

from django.conf import settings

from common import ids
from common.errors import ApiError
from common.origin import address_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]

MEGABYTE = 1024 * 1024
SEND_TIMEOUT_S = 60.0
CORS = (
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"x-request-id, retry-after, retry-after-ms, x-should-retry, idempotent-replayed, "
        b"x-tollgate-provider, x-tollgate-attempts, x-tollgate-cost, x-tollgate-overhead-ms, "
        b"x-tollgate-ignored, x-tollgate-max-tokens, x-ratelimit-limit-requests, "
        b"x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
        b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens",
    ),
)


class Incoming:
    """One HTTP request of a caller, and the way back to it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.started = time.perf_counter()
        self.id: UUID = ids.request_id()
        self.headers: Mapping[bytes, bytes] = joined_headers(scope["headers"])
        self.body_read = b"content-length" not in self.headers and (
            b"transfer-encoding" not in self.headers
        )
        # The body, until the call is admitted: it may have to be kept.
        self.said = b""
        self.answered = False
        # What was answered, for those who count: the status, 0 as long as nothing was.
        self.status = 0
        self.told: Mapping[str, str] = {}
        self.gone = False
        self.ended = False

    @property
    def path(self) -> str:
        """Return the decoded path."""
        return str(self.scope["path"])

    @property
    def address(self) -> str:
        """Return the caller's IP address, seen through the configured number of proxies."""
        client = self.scope.get("client")
        peer = client[0] if client else ""
        forwarded = self.headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return address_of(peer=peer, forwarded=forwarded, trusted=settings.TRUSTED_PROXIES)

    def elapsed_ms(self) -> int:
        """Return the milliseconds since the request's headers arrived."""
        return int((time.perf_counter() - self.started) * 1000)

    async def body(self, *, limit_bytes: int) -> bytes:
        """
        Read the body.

        :raises ApiError: 408 too slow, 413 too large, 415 compressed
        """
        self.check_framing(limit_bytes=limit_bytes)
        try:
            async with asyncio.timeout(settings.BODY_TIMEOUT_S):
                return await self._collect(limit_bytes)
        except TimeoutError:
            message = f"The request body did not arrive within {settings.BODY_TIMEOUT_S:g} seconds."
            raise ApiError("invalid_parameter", message, status=408) from None

    def check_framing(self, *, limit_bytes: int) -> None:
        """
        Judge a body by its headers, before any of it is read.

        :raises ApiError: 400 ambiguous framing, 413 declared too large, 415 compressed
        """
        headers = self.headers
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise ApiError(
                "invalid_parameter", "Send the body without Content-Encoding.", status=415
            )
        declared = headers.get(b"content-length")
        if declared is None:
            return
        if not declared.isdigit() or b"transfer-encoding" in headers:
            raise ApiError("invalid_parameter", "The request's framing is ambiguous.")
        if int(declared) > limit_bytes:
            raise too_large(limit_bytes)

    async def _collect(self, limit_bytes: int) -> bytes:
        message = await self.receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts, size = [body], len(body)
            while message.get("more_body") and size <= limit_bytes:
                message = await self.receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
            body = b"".join(parts)
        if message["type"] == "http.disconnect":
            self.gone = True
            raise ApiError("invalid_json", "The connection closed before the body was complete.")
        if len(body) > limit_bytes:
            raise too_large(limit_bytes)
        self.body_read = True
        return body

    async def until_gone(self) -> None:
        """Return when the caller has hung up; only after the body has been read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True

    async def has_left(self) -> bool:
        """Tell whether the caller has hung up by now; does not wait."""
        if not self.gone:
            asking = asyncio.ensure_future(self.receive())
            await asyncio.sleep(0)
            if asking.done():
                self.gone = asking.result()["type"] == "http.disconnect"
            else:
                asking.cancel()
        return self.gone

    async def answer(
        self,
        *,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        content_type: bytes = b"application/json",
    ) -> None:
        """Send a whole response."""
        pairs = self._head(status, headers, content_type)
        pairs.append((b"content-length", str(len(body)).encode()))
        self.answered = True
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})
        if self.scope["method"] == "HEAD":
            body = b""
        await self.send({"type": "http.response.body", "body": body})

    async def begin_stream(self, *, headers: Mapping[str, str]) -> None:
        """Send the head of an event stream."""
        pairs = self._head(200, headers, b"text/event-stream; charset=utf-8")
        pairs += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        self.answered = True
        await self.send({"type": "http.response.start", "status": 200, "headers": pairs})

    async def write(self, chunk: bytes, *, last: bool = False) -> None:
        """Send a part of a stream; a caller that stops reading counts as gone."""
        if self.gone or self.ended:
            return
        self.ended = last
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self.send(
                    {"type": "http.response.body", "body": chunk, "more_body": not last}
                )
        except (OSError, TimeoutError):
            self.gone = True

    def _head(
        self, status: int, headers: Mapping[str, str], content_type: bytes
    ) -> list[tuple[bytes, bytes]]:
        self.status, self.told = status, headers
        pairs = [
            (b"content-type", content_type),
            (b"x-request-id", ids.form("req_", self.id).encode()),
            *CORS,
        ]
        pairs += [
            (name.encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()
        ]
        if not self.body_read:
            pairs.append((b"connection", b"close"))
        return pairs


def joined_headers(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name; a repeated one is joined by commas, as RFC 9110 5.3 says."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        headers[name] = headers[name] + b"," + value if name in headers else value
    return headers


def too_large(limit_bytes: int) -> ApiError:
    """Return the 413."""
    message = f"The request body is larger than {limit_bytes // MEGABYTE} MB."
    return ApiError("invalid_parameter", message, status=413)
