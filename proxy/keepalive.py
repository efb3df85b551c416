"""Comments on quiet streams, so that nothing between us and the caller cuts them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog
from django.conf import settings

from proxy.guard import Incoming
from proxy.wire import sse

log = structlog.get_logger(__name__)


class KeepAlive:
    """One timer for all streams: a comment after every ``KEEPALIVE_S`` of silence."""

    def __init__(self) -> None:
        self.quiet_since: dict[Incoming, float] = {}
        self.headers: dict[Incoming, Mapping[str, str]] = {}
        self.writing: dict[Incoming, asyncio.Task[None]] = {}
        self.task = asyncio.create_task(self._work())

    def add(self, incoming: Incoming, headers: Mapping[str, str]) -> None:
        """Watch a stream; ``headers`` are sent where silence comes before the first event."""
        self.quiet_since[incoming] = time.monotonic()
        self.headers[incoming] = headers

    def touch(self, incoming: Incoming) -> None:
        """Note that something was sent."""
        self.quiet_since[incoming] = time.monotonic()

    def discard(self, incoming: Incoming) -> None:
        """Forget a stream."""
        self.quiet_since.pop(incoming, None)
        self.headers.pop(incoming, None)

    def stop(self) -> None:
        """End the timer."""
        self.task.cancel()

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(settings.KEEPALIVE_S / 15)
            now = time.monotonic()
            for incoming, since in list(self.quiet_since.items()):
                if now - since >= settings.KEEPALIVE_S and incoming in self.quiet_since:
                    self.quiet_since[incoming] = now
                    # Whole events only are ever sent, so this lands between two of them.
                    self._begin(incoming)

    def _begin(self, incoming: Incoming) -> None:
        """Write in a task of its own: one caller that does not read must not stop the others."""
        if incoming in self.writing:
            return
        self.writing[incoming] = asyncio.create_task(self._comment(incoming))

    async def _comment(self, incoming: Incoming) -> None:
        try:
            await self._write(incoming)
        except Exception as error:
            log.warning("A comment was not sent", error=type(error).__name__)
            self.discard(incoming)
        finally:
            self.writing.pop(incoming, None)

    async def _write(self, incoming: Incoming) -> None:
        if not incoming.answered:
            await incoming.begin_stream(headers=self.headers[incoming])
        await incoming.write(sse.KEEP_ALIVE)
