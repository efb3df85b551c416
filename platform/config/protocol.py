"""
HTTP/1.1 as uvicorn reads it, with bounds on what comes before a request: its time and its size;
and on how many connections there are.

uvicorn waits for headers for ever, takes them of any size, and puts the trailers of a chunked body
among the headers. A proxy in front bounds the first two as well; this is for servers without one,
and for the day when the proxy is not what it should be.

Whoever connects when `CLIENT_CONNECTIONS` are open is answered 503 and sent away, but for the
question whether the process lives: who asks that would end it with all its streams. Beyond a
margin for those answers connections are closed without a word.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, ClassVar, Final

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from common import ids
from common.errors import ApiError, retry_advice, retry_headers
from proxy.meters import meters

LARGEST_HEAD_BYTES: Final = 32 * 1024
# Those above the bound who are still told why.
ANSWERED_MORE: Final = 64
ALWAYS_ANSWERED: Final = b"/livez"
CROWDED_MS: Final = 1000


class HeadTooLarge(Exception):
    """What comes before the body is larger than any client of ours sends."""


class Crowded(Exception):
    """As many connections are open as may be."""


def make_room() -> None:
    """Let this process have all the descriptors that it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems allow less than they say; then what there is has to do.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_connections() -> int:
    """How many may be open: as many as are set, if they and those to providers have descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted: int = settings.CLIENT_CONNECTIONS
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, soft // 2)


class HttpProtocol(HttpToolsProtocol):
    """One connection; ``uvicorn --http config.protocol:HttpProtocol``."""

    # How long whoever has connected may still ask a server that stops.
    last_word_s: ClassVar[float] = 1

    def __init__(self, *args: Any, **terms: Any) -> None:
        super().__init__(*args, **terms)
        # Between a request's first byte and the end of its headers.
        self.begun = False
        self.in_body = False
        self.fed = self.head_bytes = 0
        self.refusal: Callable[[], ApiError] = misread
        self.patience: asyncio.TimerHandle | None = None
        # Made when as many were open as may be.
        self.is_extra = False
        self.is_ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for a first request, but not for ever."""
        super().connection_made(transport)
        meters().connections.inc()
        self.is_extra = self._is_crowded()
        if self._is_crowded(by=ANSWERED_MORE):
            meters().connections_refused.inc()
            transport.abort()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        meters().connections.dec()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what does not get as far as a request in time ends the connection."""
        self.fed += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.begun and self.fed > LARGEST_HEAD_BYTES:
            self._refuse(head_too_large())
        elif self.patience is None and (self.begun or not self._answering()):
            self._wait()

    def on_message_begin(self) -> None:
        """Count anew."""
        self.begun, self.in_body, self.head_bytes = True, False, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the address."""
        self.head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is none (RFC 9110, 6.5.1)."""
        if not self.in_body:
            self.head_bytes += len(name) + len(value)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """
        Begin with the request.

        :raises HeadTooLarge: to the parser, which refuses
        :raises Crowded: the same
        """
        self._stop_waiting()
        self.begun, self.in_body, self.fed = False, True, 0
        if self.head_bytes > LARGEST_HEAD_BYTES:
            self.refusal = head_too_large
            raise HeadTooLarge
        self.is_extra = self.is_extra and self._is_crowded()
        if self.is_extra and self.url != ALWAYS_ANSWERED:
            meters().connections_refused.inc()
            self.refusal = crowded
            raise Crowded
        super().on_headers_complete()
        if self.is_extra or self.is_ending:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Be ready for the next request."""
        self.in_body, self.fed = False, 0
        super().on_message_complete()

    def shutdown(self) -> None:
        """End once who is connected has been answered: a request may be on its way already."""
        self.is_ending = True
        if self._answering():
            super().shutdown()
        else:
            self.loop.call_later(self.last_word_s, super().shutdown)

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be understood, and say why."""
        self._refuse(self.refusal())

    def _is_crowded(self, *, by: int = 0) -> bool:
        return len(self.connections) > most_connections() + by

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self.patience = self.loop.call_later(settings.HEAD_TIMEOUT_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None

    def _give_up(self) -> None:
        self.patience = None
        if self._answering():
            # Half of the next request came while this one is served; that is no haste.
            self._wait()
        elif self.begun:
            self._refuse(head_too_slow())
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if not self._answering():
            self.transport.write(refusal(error))
        self.transport.close()


def refusal(error: ApiError) -> bytes:
    """Return the whole answer to what is no request, the last on its connection."""
    body = error.body()
    fields = {
        "content-type": "application/json",
        "x-request-id": ids.form("req_", ids.request_id()),
        **error.headers,
        "content-length": str(len(body)),
        "connection": "close",
    }
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {text}" for name, text in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def misread() -> ApiError:
    """Return the 400 for what cannot be understood."""
    message = "This is no request in HTTP/1.1, or its framing is ambiguous."
    return ApiError("invalid_parameter", message)


def head_too_large() -> ApiError:
    """Return the 400 for an address and headers without an end."""
    most = LARGEST_HEAD_BYTES // 1024
    message = f"The request's address and headers are larger than {most} KB. Send less."
    return ApiError("invalid_parameter", message)


def head_too_slow() -> ApiError:
    """Return the 408 for headers that do not end."""
    message = f"The request's headers did not arrive within {settings.HEAD_TIMEOUT_S:g} seconds."
    return ApiError("invalid_parameter", message, status=408)


def crowded() -> ApiError:
    """Return the 503 of a server that has as many connections as it may."""
    advice = retry_advice(after_ms=CROWDED_MS)
    message = f"Too many connections are open here. {advice}"
    return ApiError("too_many_connections", message, headers=retry_headers(after_ms=CROWDED_MS))
