"""
Micro-batches: while one batch is in flight the next collects.

A lane owns one connection and sends many items in one round trip, so that the commit is
shared. Evidence for the rules here (what fails under load): docs/decisions/0003.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

Item = TypeVar("Item")
Verdict = TypeVar("Verdict")
log = structlog.get_logger(__name__)


class Lane(Generic[Item, Verdict]):
    """
    Runs items in batches, in order of arrival, one batch at a time.

    ``run`` takes a list of items and returns one verdict each. ``abandoned`` is told of a
    verdict whose waiter is gone.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[list[Verdict]]],
        *,
        limit: int = 128,
        abandoned: Callable[[Item, Verdict], None] | None = None,
    ) -> None:
        self.run = run
        self.limit = limit
        self.abandoned = abandoned
        self.waiting: deque[tuple[Item, asyncio.Future[Verdict]]] = deque()
        self.wake = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        self.task = asyncio.create_task(self._work())

    async def stop(self, *, timeout_s: float) -> None:
        """Let what is queued finish, then end."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.idle.wait()
        except TimeoutError:
            log.error("A lane was stopped with work left", left=len(self.waiting))
        if self.task is not None:
            self.task.cancel()

    def put(self, item: Item) -> asyncio.Future[Verdict]:
        """Queue an item; the future gives its verdict."""
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.waiting.append((item, future))
        self.idle.clear()
        self.wake.set()
        return future

    def turn_away(self, error: Callable[[], Exception]) -> None:
        """Refuse all who wait, each with an error of its own."""
        while self.waiting:
            _, future = self.waiting.popleft()
            if not future.done():
                future.set_exception(error())

    async def _work(self) -> None:
        while True:
            await self.wake.wait()
            while self.waiting:
                count = min(self.limit, len(self.waiting))
                await self._batch([self.waiting.popleft() for _ in range(count)])
            self.wake.clear()
            self.idle.set()

    async def _batch(self, batch: list[tuple[Item, asyncio.Future[Verdict]]]) -> None:
        try:
            verdicts = await self.run([item for item, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (item, future), verdict in zip(batch, verdicts, strict=True):
            if not future.done():
                future.set_result(verdict)
            elif self.abandoned is not None:
                self.abandoned(item, verdict)
