"""
What one gateway process keeps: the catalogue, the lanes, the upstream client, its pulse.

The pulse tells the database that this process lives, sees catalogue changes, extends long
holds and writes down what long streams have counted.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

import msgspec
import psycopg
import structlog
from django.conf import settings
from msgspec import Struct

from accounts import pepper
from billing import ledger
from common import metrics
from proxy import breakers, catalogue, quotas
from proxy.auth import Doorkeeper
from proxy.breakers import Breakers
from proxy.catalogue import Catalogue
from proxy.connection import Connection, Reader, in_thread
from proxy.gates import Gates
from proxy.keepalive import KeepAlive
from proxy.limits import Limiter
from proxy.meters import meters
from proxy.quotas import Quotas
from proxy.scribe import Scribe
from proxy.spool import Spool
from proxy.till import Closing, Settled, Till
from proxy.transport import Transport
from proxy.vitals import Vitals

if TYPE_CHECKING:
    from proxy.streams import Stream

log = structlog.get_logger(__name__)

CATALOGUE_POLL_S = 0.5
DURABLE_WAIT_S = 5.0
REPLAY_EVERY_S = 1.0
MEASURE_EVERY_S = 2.0
REHASH_EVERY_S = 1.0
BORN = """
insert into proxy_gatewayprocess (hostname, pid, started_at, heartbeat_at)
values (%s, %s, clock_timestamp(), clock_timestamp()) returning id
"""
PULSE = """
with beat as (
    update proxy_gatewayprocess set heartbeat_at = clock_timestamp()
    where id = %s and %s returning id
)
select (select version from proxy_catalogueversion where id = 1),
       (select count(*) from proxy_gatewayprocess
        where stopped_at is null and heartbeat_at > clock_timestamp() - make_interval(secs => %s)),
       exists (select 1 from accounts_apikey where kind = 'imported')
"""
GONE = "update proxy_gatewayprocess set stopped_at = clock_timestamp() where id = %s"
CHECKPOINT = """
insert into proxy_checkpoint (request_id, process_id, provider, route_id, price_id, upstream_id,
                              input_tokens, cached_tokens, cache_write_tokens, output_tokens,
                              reasoning_tokens, searches, bytes, at)
select request_id, %s, provider, route_id, price_id, upstream_id, input_tokens, cached_tokens,
       cache_write_tokens, output_tokens, reasoning_tokens, searches, bytes, clock_timestamp()
from jsonb_to_recordset(%s::jsonb) as x (
    request_id uuid, provider text, route_id bigint, price_id bigint, upstream_id text,
    input_tokens bigint, cached_tokens bigint, cache_write_tokens bigint, output_tokens bigint,
    reasoning_tokens bigint, searches bigint, bytes bigint)
where exists (select 1 from billing_hold h where h.id = x.request_id)
on conflict (request_id) do update
set provider = excluded.provider, route_id = excluded.route_id, price_id = excluded.price_id,
    upstream_id = excluded.upstream_id, input_tokens = excluded.input_tokens,
    cached_tokens = excluded.cached_tokens, cache_write_tokens = excluded.cache_write_tokens,
    output_tokens = excluded.output_tokens, reasoning_tokens = excluded.reasoning_tokens,
    searches = excluded.searches, bytes = excluded.bytes, at = excluded.at
"""


class Note(Struct, frozen=True):
    """One row of ``proxy_checkpoint``."""

    request_id: UUID
    provider: str
    route_id: int
    price_id: int
    upstream_id: str
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    searches: int
    bytes: int

    @property
    def telling(self) -> bool:
        """Whether it says anything: what came, or by which id its provider knows it."""
        return bool(self.bytes or self.upstream_id)


class Runtime:
    """Everything that lives as long as the process."""

    # Where requests are traced there are others in their place (proxy.tracing).
    tills: ClassVar[type[Till]] = Till
    passages: ClassVar[type[Gates]] = Gates

    def __init__(self) -> None:
        self.process_id = 0
        self.draining = False
        self.catalogue: Catalogue
        self.live: set[Stream] = set()
        self.left: list[Note] = []
        self.meters = meters()
        self.endpoint = metrics.Endpoint(Vitals())

    async def start(self) -> None:
        """
        Connect and begin to work; needs a running event loop.

        :raises psycopg.Error: the database is away
        :raises accounts.pepper.PepperError: the database's keys need another pepper
        """
        self.reader = Reader()
        await self.reader.open()
        try:
            await self._begin()
        except BaseException:
            # The pool's tasks outlive a cancellation: the process would never end.
            await self.reader.close()
            raise

    async def _begin(self) -> None:
        await in_thread(pepper.check)
        self.control = Connection()
        rows = await self.control.rows(BORN, (socket.gethostname()[:255], os.getpid()))
        self.process_id = rows[0][0]
        self.till = self.tills(Spool(settings.SPOOL_DIR))
        self.till.start()
        self.quotas = Quotas()
        self.quotas.start()
        self.limiter = Limiter(self.quotas)
        self.doorkeeper = Doorkeeper(self.reader)
        self.breakers = Breakers()
        self.gates = self.passages(self.quotas, self.breakers)
        self.keepalive = KeepAlive()
        self.scribe = Scribe()
        self.transport = Transport()
        self.catalogue = await in_thread(catalogue.load)
        self.pulses = [
            asyncio.create_task(self._forever(self.beat, CATALOGUE_POLL_S)),
            asyncio.create_task(self._forever(self.till.replay, REPLAY_EVERY_S)),
            asyncio.create_task(self._forever(self.checkpoint, settings.CHECKPOINT_S)),
            asyncio.create_task(self._forever(self.share_breakers, breakers.SHARE_EVERY_S)),
            asyncio.create_task(self._forever(self.renew_leases, quotas.RENEW_EVERY_S)),
            asyncio.create_task(self._forever(self.measure, MEASURE_EVERY_S)),
            asyncio.create_task(self._forever(self.doorkeeper.rehash, REHASH_EVERY_S)),
        ]
        self.checkpoints = Connection()
        self.beaten_at = 0.0
        log.info("The gateway is up", process=self.process_id, models=len(self.catalogue.models))

    async def stop(self) -> None:
        """Settle what is left, say goodbye, close every connection."""
        self.draining = True
        for pulse in self.pulses:
            pulse.cancel()
        await asyncio.to_thread(self.endpoint.close)
        await self.till.close()
        await self.scribe.close()
        await self.quotas.close()
        await self.transport.aclose()
        self.keepalive.stop()
        try:
            if counted := [note for note in self.left if note.telling]:
                await self.write_down(counted)
            await self.control.rows(GONE, (self.process_id,))
        except psycopg.Error as error:
            log.warning("Could not say goodbye", error=type(error).__name__)
        for connection in (self.control, self.checkpoints, self.reader):
            await connection.close()

    async def durable(self, closing: Closing) -> Settled | None:
        """Settle, and wait until it is durable; None where database and disk both fail."""
        task = self.till.settle(closing)
        done, _ = await asyncio.wait({task}, timeout=DURABLE_WAIT_S)
        return task.result() if done and task.exception() is None else None

    def leave(self, stream: Stream) -> None:
        """Keep the count of a stream that our own stop cuts, for the last checkpoint."""
        self.left.append(note_of(stream))

    async def _forever(self, pulse: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while True:
            try:
                await pulse()
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("A store did not answer", error=type(error).__name__)
            except Exception:
                log.exception("A pulse failed")
            await asyncio.sleep(pause_s)

    async def beat(self) -> None:
        """Say that this process lives, every few seconds; see a changed catalogue."""
        due = time.monotonic() - self.beaten_at >= settings.HEARTBEAT_S
        if due:
            await self.replay_first()
        parameters = (self.process_id, due, settings.SILENT_AFTER_S)
        version, processes, imported = (await self.control.rows(PULSE, parameters))[0]
        if due:
            self.beaten_at = time.monotonic()
        self.quotas.share.processes = processes
        self.doorkeeper.imported_exist = imported
        change = self.catalogue.next_change_at
        if version != self.catalogue.version or (change and change <= datetime.now(tz=UTC)):
            self.catalogue = await in_thread(catalogue.load)

    async def replay_first(self) -> None:
        """
        Book what waits in the spool before a sign of life, as long as it does not take long.

        While this process is silent the sweep leaves its calls alone: after an outage that
        was longer than their holds' life, what they really cost comes first.
        """
        replay = asyncio.create_task(self.till.replay())
        # Its errors are those of the pulse that replays, which logs them.
        replay.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.wait({replay}, timeout=settings.HEARTBEAT_S)

    async def share_breakers(self) -> None:
        """Tell the other processes which routes rest, and hear it from them."""
        await self.breakers.share(self.quotas.redis)

    async def renew_leases(self) -> None:
        """Keep the slots of calls in flight."""
        self.quotas.renew()

    async def measure(self) -> None:
        """Tell the levels of this process; give all figures, if nobody else here does."""
        self.meters.streams.set(len(self.live))
        self.meters.rest(self.breakers)
        self.endpoint.open()

    async def checkpoint(self) -> None:
        """Write down what live streams have counted since the last time; extend their holds."""
        notes: list[Note] = []
        old: list[UUID] = []
        for stream in self.live:
            note = note_of(stream)
            if note.telling and note != stream.noted:
                notes.append(note)
                stream.noted = note
                stream.exchange.checkpointed = True
            if time.monotonic() > stream.extend_at:
                old.append(note.request_id)
                stream.extend_at = time.monotonic() + settings.HOLD_TTL_S / 3
        if notes:
            await self.write_down(notes)
        if old:
            await self.checkpoints.rows(ledger.EXTEND, (old, settings.HOLD_TTL_S))

    async def write_down(self, notes: list[Note]) -> None:
        """Write checkpoints."""
        rows = msgspec.json.encode(notes).decode()
        await self.checkpoints.rows(CHECKPOINT, (self.process_id, rows))


def note_of(stream: Stream) -> Note:
    """Return what a stream has counted so far, or was told."""
    usage = stream.counted()
    return Note(
        request_id=stream.exchange.incoming.id,
        provider=stream.leg.provider.slug,
        route_id=stream.leg.route.id,
        price_id=stream.leg.route.price_id,
        upstream_id=stream.reader.upstream_id,
        input_tokens=usage.input,
        cached_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
        searches=stream.leg.searched(usage.searches),
        bytes=stream.reader.size_bytes,
    )
