"""Noticing that a caller hung up while an upstream is being read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar, cast

from proxy.guard import Incoming

T = TypeVar("T")
# Most calls are over sooner; they never pay for a watcher.
WATCH_AFTER_S = 0.1


class HungUp(Exception):
    """The caller is gone and the upstream is to be cancelled."""


class Hangup:
    """
    Interrupts the task that made it, inside ``reading`` only, when the caller is gone.

    ``drain_s`` None cancels at once; a number lets the reading go on for that long.
    """

    def __init__(self, incoming: Incoming) -> None:
        self.task = cast("asyncio.Task[object]", asyncio.current_task())
        self.incoming = incoming
        self.drain_s: float | None = None
        self.inside = False
        self.interrupted = False
        self.over = False
        self.watcher: asyncio.Task[None] | None = None
        self.timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)

    def _begin(self) -> None:
        self.watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        await self.incoming.until_gone()
        if self.drain_s:
            await asyncio.sleep(self.drain_s)
        self.over = True
        if self.inside:
            self.interrupted = True
            self.task.cancel()

    async def reading(self, awaitable: Awaitable[T]) -> T:
        """
        Await something that may be interrupted.

        :raises HungUp: the caller is gone, and the time to drain is over
        """
        self.inside = True
        try:
            if self.over:
                raise HungUp
            return await awaitable
        except asyncio.CancelledError:
            if self.interrupted and self.task.uncancel() == 0:
                raise HungUp from None
            raise
        finally:
            self.inside = False

    def stop(self) -> None:
        """Stop watching."""
        self.timer.cancel()
        if self.watcher is not None:
            self.watcher.cancel()
