"""
Who is calling: the key in the headers, the workspace it acts in, what it may do there.

A key's record is kept for a few seconds. That is safe for paid calls, because admission
compares the record's version with the database; calls that admit nothing read it afresh.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping

import psycopg
import structlog
from django.db import DatabaseError
from msgspec import Struct

from accounts import keyrecord, keytext, rehashing
from accounts.keyrecord import KeyRecord, KeyWorkspace
from accounts.keyuse import BAD_KEY, permitted, presented_key
from accounts.rehashing import Move
from billing import ledger
from common.errors import ApiError, retry_advice, retry_headers
from proxy.connection import Reader, in_thread
from proxy.strangers import Strangers

log = structlog.get_logger(__name__)

KEPT_S = 10.0
OLD_AFTER_S = 1.0
MOST_KEPT = 50_000
# What finds no place waits for the key's next use.
MOST_MOVES = 1000


class Caller(Struct, frozen=True):
    """One caller in one workspace."""

    key: KeyRecord
    workspace: KeyWorkspace
    usd_account: int
    tok_account: int

    @property
    def rpm(self) -> int:
        """Return the key's requests per minute in this workspace."""
        return self.workspace.rpm


class Kept(Struct):
    """A record and the moment it is forgotten."""

    record: KeyRecord
    until: float


class Doorkeeper:
    """Finds callers by their keys."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.strangers = Strangers()
        self.kept: dict[bytes, Kept] = {}
        self.accounts: dict[tuple[int, int], tuple[int, int]] = {}
        self.moves: dict[int, Move] = {}
        # Imported keys have any shape: where there are none, junk costs no query.
        self.imported_exist = True

    async def caller(
        self,
        *,
        headers: Mapping[bytes, bytes],
        address: str,
        scope: str | None,
        fresh: bool = False,
    ) -> Caller:
        """
        Return who calls, checked for everything but money.

        :raises ApiError: 400, 401 or 403 with its reason; 503 when the store is away
        """
        text = presented_key(headers)
        if not self.keeps(text=text):
            await self._introduce(text=text, address=address)
        try:
            record = await self.record(text=text, fresh=fresh)
            workspace = permitted(record, headers=headers, address=address, scope=scope)
        except ApiError:
            # What is kept may be older than a change that lets the caller in.
            if fresh or not self.keeps(text=text):
                raise
            record = await self.record(text=text, fresh=True)
            workspace = permitted(record, headers=headers, address=address, scope=scope)
        accounts = await self._accounts(workspace_id=workspace.id, key_id=record.id)
        return Caller(record, workspace, *accounts)

    async def _introduce(self, *, text: str, address: str) -> None:
        """Look up a key that was not seen before, for an address that may try one more."""
        self.strangers.check(address)
        try:
            await self.record(text=text, fresh=False)
        except ApiError as error:
            if error.reason == "invalid_api_key":
                self.strangers.note(address)
            raise

    async def record(self, *, text: str, fresh: bool) -> KeyRecord:
        """
        Return the record of a key.

        :raises ApiError: 401 for a text that is no key of ours; 503 when the store is away
        """
        name = mark(text)
        kept = self.kept.get(name)
        now = time.monotonic()
        if kept is not None and not fresh and kept.until > now:
            return kept.record
        record = await self._read(text)
        if record is None:
            self.kept.pop(name, None)
            raise ApiError("invalid_api_key", BAD_KEY)
        if len(self.kept) >= MOST_KEPT:
            self.kept.clear()
        self.kept[name] = Kept(record, now + KEPT_S)
        self._note_move(text, record)
        return record

    def _note_move(self, text: str, record: KeyRecord) -> None:
        move = rehashing.move_of(text=text, record=record)
        if move is not None and len(self.moves) < MOST_MOVES:
            self.moves[record.id] = move

    async def rehash(self) -> None:
        """Hash the keys anew that were used and are under an older pepper."""
        if self.moves:
            moves, self.moves = self.moves.values(), {}
            await self.reader.rows(rehashing.REHASH, rehashing.parameters(moves))

    async def _read(self, text: str) -> KeyRecord | None:
        if not (self.imported_exist or keytext.well_formed(text)):
            return None
        try:
            rows = await self.reader.rows(keyrecord.FIND, (keyrecord.digests(text=text),))
        except (psycopg.Error, OSError) as error:
            raise store_away(error) from error
        return keyrecord.from_row(rows[0]) if rows else None

    async def _accounts(self, *, workspace_id: int, key_id: int) -> tuple[int, int]:
        """Return the workspace's accounts; they and the key's meter are opened on first use."""
        accounts = self.accounts.get((workspace_id, key_id))
        if accounts is None:
            try:
                accounts = await self._open(workspace_id=workspace_id, key_id=key_id)
            except (psycopg.Error, OSError, DatabaseError) as error:
                raise store_away(error) from error
            self.accounts[workspace_id, key_id] = accounts
        return accounts

    async def _open(self, *, workspace_id: int, key_id: int) -> tuple[int, int]:
        # Nearly all are open already: a thread with Django's own connection costs ten times this.
        [row] = await self.reader.rows(ledger.OPENED, (workspace_id, workspace_id, key_id))
        usd_id, tok_id, metered = row
        if usd_id is not None and tok_id is not None and metered:
            return usd_id, tok_id
        opened = await in_thread(ledger.open_accounts, workspace_id=workspace_id)
        await in_thread(ledger.open_meter, key_id=key_id)
        return opened.usd_id, opened.tok_id

    def is_old(self, headers: Mapping[bytes, bytes]) -> bool:
        """Tell whether the kept record of a caller's key is worth reading again."""
        kept = self.kept.get(mark(presented_key(headers)))
        return kept is not None and kept.until - time.monotonic() < KEPT_S - OLD_AFTER_S

    def keeps(self, *, text: str) -> bool:
        """Tell whether a key's record is kept, so that it may be older than the database's."""
        return mark(text) in self.kept


def mark(text: str) -> bytes:
    """Return a digest under which a key's record is kept, so that keys stay out of memory."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def store_away(error: Exception) -> ApiError:
    """Return the 503 for a store that does not answer: never 401, never free."""
    log.error("The store did not answer", error=type(error).__name__)
    return ApiError(
        "store_unavailable",
        f"The service cannot reach its database right now. {retry_advice(after_ms=1000)}",
        headers=retry_headers(after_ms=1000),
    )
