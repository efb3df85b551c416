"""
Writing down the words of calls, beside the calls: no call waits for it or fails by it.

What waits is bounded in bytes; what does not fit, or cannot be written, is dropped and counted.
Whether a workspace and a key still want their words kept is asked again where they are written,
under locks that a switch-off waits for: after it nothing more is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

import msgspec
import psycopg
import structlog
from django.conf import settings

from common import crypto
from proxy.connection import Connection
from proxy.meters import meters
from proxy.transcripts import Said, words_of

log = structlog.get_logger(__name__)

MOST_WAITING_BYTES: Final = 64 * 1024 * 1024
MOST_AT_ONCE: Final = 32
PAUSE_S: Final = 1.0
# The database is away or busy: what waits may be written later.
AWAY: Final = (psycopg.OperationalError, psycopg.InterfaceError, OSError, TimeoutError)

WRITE: Final = """
with wanted as materialized (
    select id from accounts_workspace
    where id = any (%s) and prompt_logging and closed_at is null
    order by id for share
), allowed as materialized (
    select id from accounts_apikey
    where id = any (%s) and prompt_logging and deleted_at is null
    order by id for share
)
insert into proxy_promptlog (id, workspace_id, key_id, sealed, sealed_key_id, bytes, created_at)
select given.id, given.workspace_id, given.key_id, given.sealed, given.sealed_key_id, given.bytes,
       clock_timestamp()
from unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::bytea[], %s::text[], %s::int[])
     as given (id, workspace_id, key_id, sealed, sealed_key_id, bytes)
join wanted on wanted.id = given.workspace_id
join allowed on allowed.id = given.key_id
on conflict (id) do nothing
returning id
"""


class Row(msgspec.Struct, frozen=True):
    """One row to be written."""

    said: Said
    sealed: bytes
    sealed_by: str
    size: int


class Scribe:
    """One process's writer of prompts and answers."""

    def __init__(self) -> None:
        self.waiting: deque[Said] = deque()
        self.bytes = 0
        self.some, self.none = asyncio.Event(), asyncio.Event()
        self.none.set()
        self.connection = Connection()
        self.task: asyncio.Task[None] | None = None

    def take(self, said: Said) -> None:
        """Have the words of a call written down, if there is room for them."""
        if not settings.PROMPT_LOG_MAX_DAYS:
            return
        if self.bytes + said.size > MOST_WAITING_BYTES:
            meters().prompts_dropped.of("full").inc()
            return
        self.waiting.append(said)
        self.bytes += said.size
        self.some.set()
        self.none.clear()
        if self.task is None:
            self.task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while True:
            await self.some.wait()
            batch = [self.waiting[i] for i in range(min(MOST_AT_ONCE, len(self.waiting)))]
            try:
                rows = await asyncio.to_thread(sealed, batch)
                await self._insert(rows)
            except AWAY as error:
                log.warning("Prompts wait to be written", error=type(error).__name__)
                await asyncio.sleep(PAUSE_S)
                continue
            except Exception as error:
                # Not its text, which may quote a prompt.
                log.error("Prompts were not written", error=type(error).__name__)
                meters().prompts_dropped.of("failed").inc(len(batch))
            self._forget(batch)

    async def _insert(self, rows: list[Row]) -> None:
        columns = (
            sorted({row.said.workspace_id for row in rows}),
            sorted({row.said.key_id for row in rows}),
            [row.said.id for row in rows],
            [row.said.workspace_id for row in rows],
            [row.said.key_id for row in rows],
            [row.sealed for row in rows],
            [row.sealed_by for row in rows],
            [row.size for row in rows],
        )
        written = await self.connection.rows(WRITE, columns)
        meters().prompts_kept.inc(len(written))

    def _forget(self, batch: list[Said]) -> None:
        for said in batch:
            self.waiting.popleft()
            self.bytes -= said.size
        if not self.waiting:
            self.some.clear()
            self.none.set()

    async def close(self, *, timeout_s: float = 3.0) -> None:
        """Write what waits, for a while; what is left then is dropped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.none.wait()
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        if self.waiting:
            meters().prompts_dropped.of("stopped").inc(len(self.waiting))
        await self.connection.close()


def sealed(batch: list[Said]) -> list[Row]:
    """Return the rows of some calls; one that cannot be read is left out."""
    rows = []
    for said in batch:
        try:
            plain = msgspec.json.encode(words_of(said))
        except (msgspec.MsgspecError, RecursionError) as error:
            log.error("A prompt cannot be read", error=type(error).__name__)
            meters().prompts_dropped.of("failed").inc()
            continue
        text, key_id = crypto.seal(plain)
        rows.append(Row(said, text, key_id, len(plain)))
    return rows
