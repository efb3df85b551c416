"""
The gateway's till: money is taken aside before a call and settled after it.

Two lanes, admission and settlement, each one round trip a batch with its own connection,
and beside each a slow lane for items whose rows somebody else keeps locked. Both SQL
functions are idempotent on the request id, so a batch whose answer was lost is sent again.

A settlement that the database does not take within ``SPOOL_AFTER_S`` goes to this machine's
disk and from there to the database. It stays in memory only where the disk fails as well.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.db import DatabaseError
from msgspec import Struct

from billing import incidents
from billing.ledger import ADMIT
from billing.models import Alert
from common import ids, money
from proxy import hindsight
from proxy.connection import Connection, in_thread
from proxy.desk import POISON, Desk, StoreAway
from proxy.meters import meters
from proxy.spool import Entry, Fate, Spool

log = structlog.get_logger(__name__)

ADMIT_DEADLINE_S = 3.0
SPOOL_AFTER_S = 2.0
DISK_PAUSE_S = 1.0
# Longer than the server lets a statement run.
VOID_AGAIN_AFTER_S = 6.0
SPOOLED = "spooled"

# One statement, so one commit: the holds close, the attempts are written, checkpoints go.
SETTLE = """
with settled as materialized (
    select billing_settle(%s::jsonb, %s) as verdicts
), attempted as (
    insert into proxy_attempt (request_id, day, n, provider, route_id, upstream_model, price_id,
                               upstream_id, outcome, cause, status, cost, latency_ms,
                               finish_reason)
    select request_id, day, n, provider, route_id, upstream_model, price_id,
           upstream_id, outcome, cause, status, cost, latency_ms, coalesce(finish_reason, '')
    from jsonb_to_recordset(%s::jsonb) as x (
        request_id uuid, day date, n smallint, provider text, route_id bigint,
        upstream_model text, price_id bigint, upstream_id text, outcome text, cause text,
        status smallint, cost bigint, latency_ms integer, finish_reason text)
    on conflict do nothing
), tidied as (
    delete from proxy_checkpoint where request_id = any (%s)
)
select verdicts::text from settled
"""


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
    # Every leg that may serve the call, as ``route:price:searches``; the sweep reads it.
    legs: str = ""
    # How it was asked, for the receipt of a call that somebody else closes.
    surface: str = ""
    stream: bool = False


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
    finish_reason: str = ""


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


async def ask_admission(connection: Connection, items: list[Ask], careful: bool) -> list[Granted]:
    """Run ``billing_admit`` for a batch."""
    meters().admissions.observe(len(items))
    rows = await connection.rows(ADMIT, (msgspec.json.encode(items).decode(), careful))
    return msgspec.json.decode(rows[0][0], type=list[Granted])


async def ask_settlement(
    connection: Connection, items: list[Closing], careful: bool
) -> list[Settled]:
    """Run ``billing_settle`` for a batch and write its attempts."""
    meters().settlements.observe(len(items))
    bills = msgspec.json.encode([item.bill for item in items]).decode()
    attempts = msgspec.json.encode([row for item in items for row in item.attempts]).decode()
    checkpointed = [item.bill.id for item in items if item.checkpointed]
    rows = await connection.rows(SETTLE, (bills, careful, attempts, checkpointed))
    return msgspec.json.decode(rows[0][0], type=list[Settled])


class Till:
    """What the gateway asks of the ledger, in batches."""

    def __init__(self, spool: Spool) -> None:
        slow_admission = self._admission(later=None)
        self.admission = self._admission(later=slow_admission)
        slow_settlement = self._settlement(later=None)
        self.settlement = self._settlement(later=slow_settlement)
        self.desks: tuple[Desk[Any, Any], ...] = (
            self.admission,
            slow_admission,
            self.settlement,
            slow_settlement,
        )
        self.settling: set[asyncio.Task[Settled]] = set()
        self.spool = spool
        self.replaying = asyncio.Lock()
        self.probe = Connection()

    def _admission(self, *, later: Desk[Ask, Granted] | None) -> Desk[Ask, Granted]:
        return Desk(
            ask_admission,
            broken=Granted("bad_item"),
            patience_s=ADMIT_DEADLINE_S,
            abandoned=self._give_back,
            later=later,
        )

    def _settlement(self, *, later: Desk[Closing, Settled] | None) -> Desk[Closing, Settled]:
        return Desk(
            ask_settlement, broken=Settled("bad_item"), patience_s=SPOOL_AFTER_S, later=later
        )

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        self.spool.start()
        for desk in self.desks:
            desk.start()

    async def close(self, *, timeout_s: float = 10.0) -> None:
        """Finish the settlements under way, in the database or in the spool, then end."""
        if self.settling:
            _, left = await asyncio.wait(set(self.settling), timeout=timeout_s)
            if left:
                log.critical("Settlements are lost to the sweep", count=len(left))
        for desk in self.desks:
            await desk.close(timeout_s=timeout_s)
        await self.probe.close()
        await self.spool.close(timeout_s=timeout_s)

    async def admit(self, ask: Ask) -> Granted:
        """
        Take money aside for one request.

        :raises StoreAway: the database did not answer; what it may have taken is voided
        """
        try:
            granted = await self.admission.put(ask)
        except StoreAway as error:
            if error.asked:
                self.void(ask)
                # The question may still run, and would be granted after this void.
                asyncio.get_running_loop().call_later(VOID_AGAIN_AFTER_S, self.void, ask)
            raise
        if granted.v == "busy":
            raise StoreAway(asked=False)
        return granted

    def settle(self, closing: Closing) -> asyncio.Task[Settled]:
        """Close a hold; the task goes on whoever stops waiting for it."""
        task = asyncio.create_task(self._settle(closing))
        self.settling.add(task)
        task.add_done_callback(self.settling.discard)
        return task

    async def _settle(self, closing: Closing) -> Settled:
        """Return once it is durable: booked, or in the spool with the verdict ``SPOOLED``."""
        while True:
            with suppress(StoreAway):
                settled = await self._ask(closing)
                if settled.v != "busy":
                    return settled
            try:
                await self.spool.keep(closing.bill.id, msgspec.json.encode(closing))
                meters().spooled.inc()
                return Settled(SPOOLED)
            except OSError as error:
                log.critical("The settle spool cannot be written to", error=str(error))
                await asyncio.sleep(DISK_PAUSE_S)

    async def _ask(self, closing: Closing) -> Settled:
        """
        Ask the ledger to close a hold.

        :raises StoreAway: the database did not answer
        """
        try:
            settled = await self.settlement.put(closing)
        except POISON:
            settled = Settled("bad_item")
        if settled.v == "conflict":
            settled = await correct(closing)
        if settled.v == "bad_item" and closing.attempts:
            # Better a charge without its attempts than no charge.
            settled = await self._ask(Closing(closing.bill))
        elif is_refused(closing, settled):
            meters().refused.inc()
            await note_refused(closing, settled)
        else:
            meters().settled(closing.bill, settled)
        return settled

    async def replay(self) -> None:
        """
        Book what waits in the spool, if the database is back.

        :raises psycopg.Error: it is away
        :raises OSError: the spool cannot be read
        """
        async with self.replaying:
            if not await self.spool.has_work():
                return
            await self.probe.rows("select 1")
            with suppress(StoreAway):
                await self.spool.empty(self._replay)

    async def _replay(self, entries: list[Entry]) -> list[Fate]:
        fates = await asyncio.gather(*map(self._replay_one, entries), return_exceptions=True)
        if failed := [fate for fate in fates if isinstance(fate, BaseException)]:
            raise failed[0]
        log.warning("Settlements were replayed from the spool", count=len(entries))
        return [fate for fate in fates if isinstance(fate, Fate)]

    async def _replay_one(self, entry: Entry) -> Fate:
        try:
            closing = msgspec.json.decode(entry.closing, type=Closing)
        except msgspec.DecodeError as error:
            log.critical("A spooled settlement cannot be read", id=entry.name, error=str(error))
            return Fate.REFUSED
        settled = await self._ask(closing)
        if settled.v == "already":
            # Of the same price, but perhaps a sweep's guess.
            settled = await correct(closing)
        if settled.v == "busy":
            return Fate.LATER
        if settled.v in ("late", "already"):
            try:
                await in_thread(hindsight.amend, closing.attempts)
            except DatabaseError:
                return Fate.LATER
        return Fate.REFUSED if is_refused(closing, settled) else Fate.DONE

    def void(self, ask: Ask, *, day: date | None = None, reason: str = "abandoned") -> None:
        """Give back whatever a request holds."""
        day = day or today(ask.id)
        bill = Bill(
            id=ask.id,
            day=day,
            state="voided",
            reason=reason,
            surface=ask.surface,
            stream=ask.stream,
        )
        self.settle(Closing(bill))

    def _give_back(self, ask: Ask, granted: Granted) -> None:
        if granted.v == "ok":
            self.void(ask, day=granted.day)


async def correct(closing: Closing) -> Settled:
    """Correct a call that was closed otherwise, where that was a guess; busy: not now."""
    try:
        answer = await in_thread(hindsight.correct, closing)
    except DatabaseError as error:
        log.warning("A correction has to wait", error=str(error).partition("\n")[0])
        return Settled("busy")
    if answer.v == "corrected":
        meters().corrected.inc()
    return Settled(answer.v, answer.charged, answer.uncollected)


async def note_refused(closing: Closing, settled: Settled) -> None:
    """Tell operators, and put it on the list of staff, that the ledger did not take a charge."""
    name, charged = ids.form("req_", closing.bill.id), settled.charged
    log.critical("A settlement was refused", id=name, verdict=settled.v)
    with suppress(DatabaseError):
        await in_thread(
            incidents.begin,
            kind=Alert.Kind.SETTLEMENT_REFUSED,
            subject=name,
            facts={
                "verdict": settled.v,
                "settled_usd": money.usd(closing.bill.cost),
                "booked_units": charged,
                "source": closing.bill.source,
            },
        )


def is_refused(closing: Closing, settled: Settled) -> bool:
    """Tell whether the ledger refused a settlement; only a void may find no hold."""
    if settled.v == "unknown":
        return closing.bill.state != "voided"
    return settled.v in ("conflict", "bad_item")


def today(request_id: UUID) -> date:
    """Return the UTC day in a UUIDv7's own clock."""
    return datetime.fromtimestamp((request_id.int >> 80) / 1000, tz=UTC).date()
