"""
The gateway's till: money is taken aside before a call and settled after it.

Two lanes, admission and settlement, each one round trip a batch with its own connection,
and beside each a slow lane for items whose rows somebody else keeps locked. Both SQL
functions are idempotent on the request id, so a batch whose answer was lost is sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec
import psycopg
import structlog
from msgspec import Struct

from billing.ledger import ADMIT
from common import ids
from proxy.batching import Lane
from proxy.connection import Connection

log = structlog.get_logger(__name__)

ADMIT_DEADLINE_S = 3.0
BUSY_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
LONGEST_ANSWER_S = 8.0
# Longer than the server lets a statement run.
VOID_AGAIN_AFTER_S = 6.0
RETRYABLE = (psycopg.Error, OSError, TimeoutError)
POISON = (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError)

# One statement, so one commit: the holds close, the attempts are written, checkpoints go.
SETTLE = """
with settled as materialized (
    select billing_settle(%s::jsonb, %s) as verdicts
), attempted as (
    insert into proxy_attempt (request_id, day, n, provider, route_id, upstream_model, price_id,
                               upstream_id, outcome, cause, status, cost, latency_ms)
    select request_id, day, n, provider, route_id, upstream_model, price_id,
           upstream_id, outcome, cause, status, cost, latency_ms
    from jsonb_to_recordset(%s::jsonb) as x (
        request_id uuid, day date, n smallint, provider text, route_id bigint,
        upstream_model text, price_id bigint, upstream_id text, outcome text, cause text,
        status smallint, cost bigint, latency_ms integer)
    on conflict do nothing
), tidied as (
    delete from proxy_checkpoint where request_id = any (%s)
)
select verdicts::text from settled
"""


class StoreAway(Exception):
    """The database did not answer in time; nothing was taken, or it will be given back."""


class Ask(Struct, frozen=True):
    """One item of ``billing_admit``: amounts in units of the asset, ``ttl`` in seconds."""

    id: UUID
    account: int
    usd_account: int
    workspace: int
    key: int
    version: int
    want: int
    need: int
    unit: int
    ttl: int
    process: int
    model: str
    price: int
    # Every leg that may serve the call, as ``route:price``; the sweep reads it.
    legs: str = ""


class Granted(Struct, frozen=True):
    """One verdict of ``billing_admit``."""

    v: str
    granted: int | None = None
    day: date | None = None


class AttemptRow(Struct, frozen=True):
    """One row of ``proxy_attempt``; cost in nano-dollars."""

    request_id: UUID
    day: date
    n: int
    provider: str
    route_id: int
    upstream_model: str
    price_id: int
    upstream_id: str
    outcome: str
    cause: str
    status: int | None
    cost: int
    latency_ms: int


class Bill(Struct, frozen=True, kw_only=True):
    """One item of ``billing_settle``: what is charged and every fact of the usage row."""

    id: UUID
    day: date
    state: str
    cost: int = 0
    unknown: bool = False
    source: str = "none"
    served: str = ""
    provider: str = ""
    price_id: int | None = None
    surface: str = ""
    stream: bool = False
    cancelled: bool = False
    status: int | None = None
    reason: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    pictures: int = 0
    picture_size: str = ""
    picture_quality: str = ""
    searches: int = 0
    first_byte_ms: int | None = None
    latency_ms: int | None = None
    upstream_cost: int = 0


class Closing(Struct, frozen=True):
    """A bill with the attempts that led to it."""

    bill: Bill
    attempts: tuple[AttemptRow, ...] = ()
    checkpointed: bool = False


class Settled(Struct, frozen=True):
    """One verdict of ``billing_settle``; amounts in units of the asset."""

    v: str
    charged: int | None = None
    uncollected: int | None = None


class Answer(Protocol):
    """What both SQL functions answer for an item: a verdict in a word."""

    @property
    def v(self) -> str:
        """Return the verdict."""
        ...


Item = TypeVar("Item")
Verdict = TypeVar("Verdict", bound=Answer)


class Window(Generic[Item, Verdict]):
    """A lane, its connection, and how a batch is asked: careful when rows are locked."""

    def __init__(
        self,
        ask: Callable[[Connection, list[Item], bool], Awaitable[list[Verdict]]],
        *,
        broken: Verdict,
        patience_s: float,
        abandoned: Callable[[Item, Verdict], None] | None = None,
        later: Window[Item, Verdict] | None = None,
    ) -> None:
        self.ask = ask
        self.broken = broken
        self.patience_s = patience_s
        self.later = later
        self.connection = Connection()
        self.lane: Lane[Item, Verdict] = Lane(self._run, abandoned=abandoned)

    async def _run(self, items: list[Item]) -> list[Verdict]:
        """Ask until answered; halve a batch that one broken item spoils."""
        deadline = time.monotonic() + self.patience_s
        pause_s = BUSY_PAUSE_S
        careful = self.later is None
        while True:
            try:
                async with asyncio.timeout(self._time_left(deadline)):
                    verdicts = await self.ask(self.connection, items, careful)
            except psycopg.errors.LockNotAvailable:
                careful = True
                continue
            except POISON as error:
                return await self._halve(items, error)
            except RETRYABLE as error:
                if time.monotonic() + pause_s > deadline:
                    raise StoreAway from error
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
            return await self._finish_busy(items, verdicts, deadline)

    def _time_left(self, deadline: float) -> float:
        """Return how long one question may take; a stopped server answers nothing at all."""
        return min(LONGEST_ANSWER_S, max(0.1, deadline - time.monotonic()))

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

    async def put(self, item: Item) -> Verdict:
        """
        Ask for one item; a busy one goes on in the slow lane.

        :raises StoreAway: no answer within the patience of this window
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


async def ask_admission(connection: Connection, items: list[Ask], careful: bool) -> list[Granted]:
    """Run ``billing_admit`` for a batch."""
    rows = await connection.rows(ADMIT, (msgspec.json.encode(items).decode(), careful))
    return msgspec.json.decode(rows[0][0], type=list[Granted])


async def ask_settlement(
    connection: Connection, items: list[Closing], careful: bool
) -> list[Settled]:
    """Run ``billing_settle`` for a batch and write its attempts."""
    bills = msgspec.json.encode([item.bill for item in items]).decode()
    attempts = msgspec.json.encode([row for item in items for row in item.attempts]).decode()
    checkpointed = [item.bill.id for item in items if item.checkpointed]
    rows = await connection.rows(SETTLE, (bills, careful, attempts, checkpointed))
    return msgspec.json.decode(rows[0][0], type=list[Settled])


class Till:
    """What the gateway asks of the ledger, in batches."""

    def __init__(self) -> None:
        slow_admission = self._admission(later=None)
        self.admission = self._admission(later=slow_admission)
        slow_settlement = self._settlement(later=None)
        self.settlement = self._settlement(later=slow_settlement)
        self.windows: tuple[Window[Any, Any], ...] = (
            self.admission,
            slow_admission,
            self.settlement,
            slow_settlement,
        )
        self.settling: set[asyncio.Task[Settled]] = set()

    def _admission(self, *, later: Window[Ask, Granted] | None) -> Window[Ask, Granted]:
        return Window(
            ask_admission,
            broken=Granted("bad_item"),
            patience_s=ADMIT_DEADLINE_S,
            abandoned=self._give_back,
            later=later,
        )

    def _settlement(self, *, later: Window[Closing, Settled] | None) -> Window[Closing, Settled]:
        return Window(
            ask_settlement, broken=Settled("bad_item"), patience_s=float("inf"), later=later
        )

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        for window in self.windows:
            window.start()

    async def close(self, *, timeout_s: float = 10.0) -> None:
        """Finish the settlements under way, then end."""
        if self.settling:
            await asyncio.wait(set(self.settling), timeout=timeout_s)
        for window in self.windows:
            await window.close(timeout_s=timeout_s)

    async def admit(self, ask: Ask) -> Granted:
        """
        Take money aside for one request.

        :raises StoreAway: the database did not answer; what it may have taken is voided
        """
        try:
            granted = await self.admission.put(ask)
        except StoreAway:
            self.void(ask)
            # The question may still run on the server, and would be granted after this void.
            asyncio.get_running_loop().call_later(VOID_AGAIN_AFTER_S, self.void, ask)
            raise
        if granted.v == "busy":
            raise StoreAway
        return granted

    def settle(self, closing: Closing) -> asyncio.Task[Settled]:
        """Close a hold; the task goes on whoever stops waiting for it."""
        task = asyncio.create_task(self._settle(closing))
        self.settling.add(task)
        task.add_done_callback(self.settling.discard)
        return task

    async def _settle(self, closing: Closing) -> Settled:
        try:
            settled = await self.settlement.put(closing)
        except POISON:
            settled = Settled("bad_item")
        if settled.v == "bad_item" and closing.attempts:
            # Better a charge without its attempts than no charge.
            settled = await self.settlement.put(Closing(closing.bill))
        if settled.v in ("conflict", "bad_item") or (
            settled.v == "unknown" and closing.bill.state != "voided"
        ):
            log.error(
                "A settlement was refused", id=ids.form("req_", closing.bill.id), verdict=settled.v
            )
        return settled

    def void(self, ask: Ask, *, day: date | None = None) -> None:
        """Give back whatever a request holds."""
        day = day or today(ask.id)
        self.settle(Closing(Bill(id=ask.id, day=day, state="voided", reason="abandoned")))

    def _give_back(self, ask: Ask, granted: Granted) -> None:
        if granted.v == "ok":
            self.void(ask, day=granted.day)


def today(request_id: UUID) -> date:
    """Return the UTC day in a UUIDv7's own clock."""
    return datetime.fromtimestamp((request_id.int >> 80) / 1000, tz=UTC).date()
