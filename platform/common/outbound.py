"""
HTTP requests that connect to addresses which were judged, and to nothing else.

A name is looked up here, once; the caller's judge sees every address that it leads to, and the
connection goes to one that was judged: a name that changes its mind in between changes nothing.
TLS and the Host header have the name. No redirect is followed, no proxy of the environment is
used, the whole exchange has one deadline and the answer a bound.

    OutboundError
    ├── Unsent: no connection was made
    │   └── NoAddress: the name leads nowhere
    ├── Late: no answer before the deadline
    └── Broken: the connection broke off, or the answer was not HTTP
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

Resolve = Callable[[str, int], list[str]]
# Gives the addresses that may be connected to, or raises what the caller wants to hear.
Judge = Callable[[Iterable[str]], list[str]]


class OutboundError(Exception):
    """A request that got no answer; its text names no address."""


class Unsent(OutboundError):
    """No connection was made: nothing was sent."""


class NoAddress(Unsent):
    """The name leads nowhere."""


class Late(OutboundError):
    """No answer before the deadline."""


class Broken(OutboundError):
    """The connection broke off, or the answer was not HTTP."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long an exchange may take, and how much of its answer is read."""

    connect_s: float
    deadline_s: float
    most_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the body ends where the bound was passed."""

    status: int
    body: bytes
    latency_ms: int


def look_up(host: str, port: int) -> list[str]:
    """
    Every address of a name, as the system knows it; an address leads to itself.

    :raises OSError: it has none
    """
    with suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_with_zone(entry[4]) for entry in found))


def _with_zone(place: tuple[Any, ...]) -> str:
    zone = place[3] if len(place) == 4 else 0
    return f"{place[0]}%{zone}" if zone and "%" not in str(place[0]) else str(place[0])


class GuardedStream(httpcore.NetworkStream):
    """A connection whose every step ends at one deadline."""

    def __init__(self, inner: httpcore.NetworkStream, ends: float) -> None:
        self.inner, self.ends = inner, ends

    def _left(self, timeout: float | None, late: type[Exception]) -> float:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise late("the deadline is over")
        return left if timeout is None else min(left, timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read, until the deadline."""
        return self.inner.read(max_bytes, self._left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write, until the deadline."""
        self.inner.write(buffer, self._left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        """Close the connection."""
        self.inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Go on encrypted, under the name that was asked for."""
        left = self._left(timeout, httpcore.ConnectTimeout)
        return GuardedStream(self.inner.start_tls(ssl_context, server_hostname, left), self.ends)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks of a connection."""
        return self.inner.get_extra_info(info)


class GuardedNetwork(httpcore.NetworkBackend):
    """Connects to judged addresses, and to nothing else."""

    def __init__(self, judge: Judge, resolve: Resolve, bounds: Bounds) -> None:
        self.judge, self.resolve, self.bounds = judge, resolve, bounds
        self.ends = time.monotonic() + bounds.deadline_s
        self.plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """
        Look the name up, have judged what it leads to, connect to that.

        :raises NoAddress: it leads nowhere
        """
        try:
            found = self.resolve(host, port)
        except (OSError, UnicodeError):
            raise NoAddress("The name has no address.") from None
        failure: Exception = httpcore.ConnectTimeout()
        for address in self.judge(found):
            left = min(self.bounds.connect_s, self.ends - time.monotonic())
            if left <= 0:
                break
            try:
                stream = self.plain.connect_tcp(address, port, timeout=left)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return GuardedStream(stream, self.ends)
        raise failure


def exchange(
    *,
    method: str,
    url: httpcore.URL,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    judge: Judge,
    bounds: Bounds,
    resolve: Resolve = look_up,
    trust: ssl.SSLContext | None = None,
) -> Answer:
    """
    Send a request; read its answer as far as the bound.

    :raises OutboundError: there was no answer; with a sentence why
    """
    begun = time.monotonic()
    network = GuardedNetwork(judge, resolve, bounds)
    context = trust or httpx.create_ssl_context(trust_env=False)
    late = f"No answer within {bounds.deadline_s:.0f} seconds."
    steps = dict.fromkeys(("connect", "read", "write", "pool"), bounds.deadline_s)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=context, network_backend=network) as pool,
            pool.stream(
                method, url, headers=headers, content=body, extensions={"timeout": steps}
            ) as response,
        ):
            read = _read(response, bounds.most_bytes)
            return Answer(response.status, read, round((time.monotonic() - begun) * 1000))
    except httpcore.ConnectTimeout:
        raise Unsent(late) from None
    except httpcore.ConnectError as error:
        raise Unsent(_why(error)) from None
    except (httpcore.TimeoutException, TimeoutError):
        raise Late(late) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
        raise Broken("The connection broke off, or the answer was not HTTP.") from None


def _read(response: httpcore.Response, most_bytes: int) -> bytes:
    """Read a little more than the bound at most, so that a well-behaved server can finish."""
    read = bytearray()
    for part in response.iter_stream():
        read += part
        if len(read) > most_bytes:
            break
    return bytes(read)


def _why(error: httpcore.ConnectError) -> str:
    text = str(error).lower()
    if "certificate" in text or "ssl" in text or "tls" in text:
        return "The TLS certificate is not valid for this host, or TLS failed."
    return "The connection was refused."
