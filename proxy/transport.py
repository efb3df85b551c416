"""
How providers are called: requests of httpx over aiohttp, answers whose bodies can rest.

The work of httpx-aiohttp's own transport, whose map of errors this uses, without what is
built anew there for every call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import cache

import aiohttp
import httpx
from django.conf import settings
from httpx_aiohttp.transport import map_aiohttp_exceptions
from msgspec import Struct
from multidict import CIMultiDict
from yarl import URL


class Body:
    """The body of an answer, as it comes."""

    def __init__(
        self, response: aiohttp.ClientResponse, freed: Callable[[], None] | None = None
    ) -> None:
        self.response = response
        # Told once, when the connection is another call's to use.
        self.freed = freed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give what has come, as soon as something has."""
        with map_aiohttp_exceptions():
            async for part in self.response.content.iter_any():
                yield part

    def rest(self) -> None:
        """Leave what comes with the kernel for now: one look fetches many small parts."""
        connection = self.response.connection
        # A protocol is a queue as well, false where that is empty.
        if connection is not None and connection.protocol is not None:
            connection.protocol.pause_reading()

    def go_on(self) -> None:
        """Fetch what comes again."""
        connection = self.response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.resume_reading()

    async def aclose(self) -> None:
        """Give the connection back, or close it where the body was not read to its end."""
        freed, self.freed = self.freed, None
        try:
            self.response.release()
            await self.response.wait_for_close()
        finally:
            if freed is not None:
                freed()


class Answer(Struct, frozen=True):
    """What a provider answered, body unread."""

    status_code: int
    body: Body

    @classmethod
    def of(cls, response: aiohttp.ClientResponse, freed: Callable[[], None]) -> Answer:
        """Return an answer whose end frees its connection."""
        return cls(response.status, Body(response, freed))


class Transport:
    """The client of all providers: no cookies, no proxies of the environment, no redirects."""

    def __init__(self) -> None:
        # Our own bound: aiohttp's cannot be told apart from a provider that does not answer.
        self.free = asyncio.Semaphore(settings.UPSTREAM_CONNECTIONS)
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15, ttl_dns_cache=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
        )

    async def send(self, request: httpx.Request) -> Answer:
        """
        Send a request; return its answer.

        :raises httpx.PoolTimeout: all our connections are in use
        :raises httpx.TransportError: it could not be sent, or was not answered
        """
        await self._wait_for_one(request.extensions["timeout"]["pool"])
        try:
            return Answer.of(await self._send(request), self.free.release)
        except BaseException:
            self.free.release()
            raise

    async def _wait_for_one(self, patience_s: float) -> None:
        if not self.free.locked():
            await self.free.acquire()
            return
        try:
            async with asyncio.timeout(patience_s):
                await self.free.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("All connections to providers are in use.") from None

    async def _send(self, request: httpx.Request) -> aiohttp.ClientResponse:
        with map_aiohttp_exceptions():
            return await self.session.request(
                request.method,
                address(str(request.url)),
                headers=CIMultiDict(
                    (name.decode("latin-1"), text.decode("latin-1"))
                    for name, text in request.headers.raw
                ),
                data=request.content,
                allow_redirects=False,
                timeout=patience(**request.extensions["timeout"]),
            )

    async def aclose(self) -> None:
        """Close all connections."""
        await self.session.close()


@cache
def address(url: str) -> URL:
    """Return a provider's endpoint as aiohttp knows it."""
    return URL(url)


@cache
def patience(connect: float, read: float, pool: float) -> aiohttp.ClientTimeout:
    """Return how long a call may take to connect and then be silent."""
    return aiohttp.ClientTimeout(sock_connect=connect, sock_read=read, connect=pool)
