"""
One desk of the till: a lane, its connection, and how a batch is asked.

Batches with locked rows are asked carefully, then by a slow desk; a batch that one broken
item spoils is halved. A desk that found the database away tries once per batch until it is
back, and turns away all who wait at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

import psycopg
import structlog

from proxy.batching import Lane
from proxy.connection import Connection, Unreachable

log = structlog.get_logger(__name__)

BUSY_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
LONGEST_ANSWER_S = 8.0
# How long a database that was away may take for its first answer.
PROBE_S = 2.0
RETRYABLE = (psycopg.Error, OSError, TimeoutError)
POISON = (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError)


class StoreAway(Exception):
    """The database did not answer in time; if it was ``asked``, it may have done it anyway."""

    def __init__(self, *, asked: bool) -> None:
        super().__init__("The database did not answer.")
        self.asked = asked


class Answer(Protocol):
    """What the ledger's functions answer for an item: a verdict in a word."""

    @property
    def v(self) -> str:
        """Return the verdict."""
        ...


Item = TypeVar("Item")
Verdict = TypeVar("Verdict", bound=Answer)


class Desk(Generic[Item, Verdict]):
    """Asks for items in batches."""

    def __init__(
        self,
        ask: Callable[[Connection, list[Item], bool], Awaitable[list[Verdict]]],
        *,
        broken: Verdict,
        patience_s: float,
        abandoned: Callable[[Item, Verdict], None] | None = None,
        later: Desk[Item, Verdict] | None = None,
    ) -> None:
        self.ask = ask
        self.broken = broken
        self.patience_s = patience_s
        self.later = later
        self.away = False
        self.connection = Connection()
        self.lane: Lane[Item, Verdict] = Lane(self._run, abandoned=abandoned)

    async def put(self, item: Item) -> Verdict:
        """
        Ask for one item; a busy one goes on at the slow desk.

        :raises StoreAway: no answer within the patience of this desk
        """
        verdict = await self.lane.put(item)
        if verdict.v == "busy" and self.later is not None:
            return await self.later.put(item)
        return verdict

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        self.lane.start()

    async def close(self, *, timeout_s: float) -> None:
        """Finish what is queued, then close the connection."""
        await self.lane.stop(timeout_s=timeout_s)
        await self.connection.close()

    async def _run(self, items: list[Item]) -> list[Verdict]:
        """Ask until answered; halve a batch that one broken item spoils."""
        deadline = time.monotonic() + (PROBE_S if self.away else self.patience_s)
        pause_s = BUSY_PAUSE_S
        careful = self.later is None
        asked = False
        while True:
            try:
                async with asyncio.timeout(time_left(deadline)):
                    verdicts = await self.ask(self.connection, items, careful)
            except POISON as error:
                self.away = False
                return await self._halve(items, error)
            except RETRYABLE as error:
                if isinstance(error, psycopg.errors.LockNotAvailable) and not careful:
                    careful = True
                    continue
                asked = asked or not isinstance(error, Unreachable)
                if self.away or time.monotonic() + pause_s > deadline:
                    raise self._away(asked=asked) from error
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
            self.away = False
            return await self._finish_busy(items, verdicts, deadline)

    def _away(self, *, asked: bool) -> StoreAway:
        """Turn away all who wait: the next batch would only wait as long for nothing."""
        self.away = True
        self.lane.turn_away(partial(StoreAway, asked=False))
        return StoreAway(asked=asked)

    async def _halve(self, items: list[Item], error: Exception) -> list[Verdict]:
        if len(items) == 1:
            log.error("An item is broken", error=type(error).__name__, detail=str(error)[:300])
            raise error
        middle = len(items) // 2
        verdicts: list[Verdict] = []
        for part in (items[:middle], items[middle:]):
            verdicts += await self._run_part(part)
        return verdicts

    async def _run_part(self, part: list[Item]) -> list[Verdict]:
        try:
            return await self._run(part)
        except POISON:
            return [self.broken] * len(part)

    async def _finish_busy(
        self, items: list[Item], verdicts: list[Verdict], deadline: float
    ) -> list[Verdict]:
        """Keep asking for the items whose rows are locked, without holding up the others."""
        while any(verdict.v == "busy" for verdict in verdicts):
            if self.later is not None or time.monotonic() > deadline:
                return verdicts
            await asyncio.sleep(BUSY_PAUSE_S)
            waiting = [i for i, verdict in enumerate(verdicts) if verdict.v == "busy"]
            again = await self._run([items[i] for i in waiting])
            for i, verdict in zip(waiting, again, strict=True):
                verdicts[i] = verdict
        return verdicts


def time_left(deadline: float) -> float:
    """Return how long one question may take; a stopped server answers nothing at all."""
    return min(LONGEST_ANSWER_S, max(0.1, deadline - time.monotonic()))
