"""
The edge in front of Django: a body is whole, in time and of a bounded size before Django sees it.

Django under ASGI spools a body of any size to disk before the first check. Here at most one
megabyte is read, by declared and by counted bytes: forms, the admin site, the management API and
webhooks of others send far less.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from typing import Final

from common import ids
from common.errors import ApiError
from proxy.guard import MEGABYTE, Incoming, Message, Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BYTES: Final = MEGABYTE
API: Final = "/api/"
PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{message}</p><p>Request {id}</p></body></html>
"""
TITLES: Final = {
    400: "Bad request",
    408: "Too slow",
    413: "Too large",
    415: "Not understood",
}


class Bounded:
    """An application that is given whole bodies of a bounded size."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, or refuse the request."""
        incoming = Incoming(scope, receive, send)
        try:
            check_address(incoming)
            if not incoming.body_read:
                receive = replayed(await incoming.body(limit_bytes=LARGEST_BYTES), receive)
        except ApiError as refusal:
            if not incoming.gone:
                await refuse(incoming, refusal)
            return
        await self.application(scope, receive, send)


def check_address(incoming: Incoming) -> None:
    """
    Look for null characters, which no address of ours has and PostgreSQL takes in no text.

    :raises ApiError: there is one
    """
    if "\0" in incoming.path or b"%00" in incoming.scope["query_string"]:
        raise ApiError("invalid_parameter", "The address contains a null character. Remove it.")


def replayed(body: bytes, receive: Receive) -> Receive:
    """A body that was read, then whatever comes after it."""
    kept: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return kept.pop() if kept else await receive()

    return next_message


async def refuse(incoming: Incoming, refusal: ApiError) -> None:
    """Answer in JSON where programs call, else as a plain page; the connection ends."""
    if incoming.path.startswith(API):
        kind, body = b"application/json", refusal.body()
    else:
        kind, body = b"text/html; charset=utf-8", page(incoming, refusal)
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", ids.form("req_", incoming.id).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
    await incoming.send(start)
    await incoming.send({"type": "http.response.body", "body": body})


def page(incoming: Incoming, refusal: ApiError) -> bytes:
    """The refusal as a page that needs nothing else."""
    title = TITLES.get(refusal.status, "Refused")
    words = {"title": title, "message": refusal.message, "id": ids.form("req_", incoming.id)}
    return PAGE.format(**{name: escape(text) for name, text in words.items()}).encode()
