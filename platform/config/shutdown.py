"""
How a web process ends on SIGTERM: nothing new begins, what is under way goes on for a while.

uvicorn would close its address at once, and who comes then is refused without a word. So its
handler is told only when the last call has ended, or the time of grace is over; until then new
calls are answered 503 ``draining`` and ``/readyz`` says the same to load balancers.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType

import structlog
from django.conf import settings

from proxy.gateway import Gateway

log = structlog.get_logger(__name__)

Handler = Callable[[int, FrameType | None], object]


class Shutdown:
    """Stands between SIGTERM and the server's own handler."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.stop_server: Handler = _nothing
        self.task: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Take over SIGTERM from the server; only a process's first thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGTERM)
        if not callable(handler):
            return
        self.loop = asyncio.get_running_loop()
        self.stop_server = handler
        signal.signal(signal.SIGTERM, self._told)

    def _told(self, number: int, frame: FrameType | None) -> None:
        """Begin to drain; told twice, stop at once."""
        if self.gateway.runtime.draining:
            self.stop_server(number, frame)
            return
        self.gateway.runtime.draining = True
        self.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        log.info("Draining", calls=self.gateway.under_way, grace_s=settings.SHUTDOWN_GRACE_S)
        self.task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            if self.gateway.under_way:
                async with asyncio.timeout(settings.SHUTDOWN_GRACE_S):
                    await self.gateway.idle.wait()
        except TimeoutError:
            log.warning("Calls are cut by our own stop", calls=self.gateway.under_way)
        self.stop_server(signal.SIGTERM, None)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Stand in for a server's handler where there is none."""
