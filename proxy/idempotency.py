"""
``Idempotency-Key``: a request that is sent twice is made once.

A key belongs to an API key and an endpoint, for a day. Whoever inserts its row makes the
request; whether that request still runs, was billed or was given back is read from its hold
and its usage row, so a process that dies in between leaves nothing that could lie:

    voided                           the key is free again
    neither hold nor usage for 30 s  its process died before the hold: free again
    hold, or closed a moment ago     409 idempotency_in_progress
    kept answer                      replayed under the first request's id, not charged
    billed or unknown, no answer     409 idempotency_completed with the receipt's id

A voided call may be one that a sweep found nothing of, and evidence of it may still come. The
ledger is told before its key is given away, so one key is never charged twice.

Draft of the header: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
import structlog
from msgspec import Struct

from billing import ledger
from common import crypto, ids
from common.crypto import UnreadableSecret
from common.errors import NO_RETRY, ApiError, bad_parameter, retry_headers
from proxy.auth import Caller, store_away
from proxy.connection import Reader

log = structlog.get_logger(__name__)

HEADER = b"idempotency-key"
LONGEST_KEY = 255
LARGEST_ANSWER_BYTES = 1024 * 1024
KEPT_H = 24
RETRY_MS = 1000
# A request that took its key has its hold after this, or never will.
CLAIM_S = 30.0
# The answer of a call that was settled is kept a moment later.
SETTLED_S = 10.0
TRIES = 5
REPLAYED = {"idempotent-replayed": "true"}
AWAY = (psycopg.Error, OSError, TimeoutError)

USAGE = """
select {what} from billing_usage u where u.id = k.request_id
and u.day between (k.created_at at time zone 'UTC')::date - 1
              and (k.created_at at time zone 'UTC')::date + 2
"""
TAKE = f"""
insert into proxy_idempotencykey as k
    (key_id, endpoint, digest, fingerprint, request_id, answer_key_id, created_at, expires_at)
values (%s, %s, %s, %s, %s, '', clock_timestamp(),
        clock_timestamp() + make_interval(hours => {KEPT_H}))
on conflict (key_id, endpoint, digest) do update
set fingerprint = excluded.fingerprint, request_id = excluded.request_id, finished_at = null,
    answer = null, answer_key_id = '', created_at = excluded.created_at,
    expires_at = excluded.expires_at
where k.expires_at <= clock_timestamp()
   or (k.request_id = %s and exists ({USAGE.format(what="")} and u.state = 'voided'))
   or (k.finished_at is null
       and k.created_at < clock_timestamp() - make_interval(secs => {CLAIM_S})
       and not exists (select from billing_hold h where h.id = k.request_id)
       and not exists ({USAGE.format(what="")}))
returning k.id
"""  # noqa: S608 - made of constants
FIND = f"""
select k.fingerprint, k.request_id, k.answer, k.answer_key_id, k.finished_at is not null,
       exists (select from billing_hold h where h.id = k.request_id),
       ({USAGE.format(what="u.stream")}),
       ({USAGE.format(what="extract(epoch from billing_now() - u.closed_at)::float8")}),
       ({USAGE.format(what="u.day")} and u.state = 'voided')
from proxy_idempotencykey k
where k.key_id = %s and k.endpoint = %s and k.digest = %s
"""  # noqa: S608 - made of constants
# Whoever would take the key for a request that never came as far waits for this row, and reads
# its new time; whoever has taken it leaves nothing to be confirmed. No process's clock matters.
CONFIRM = """
update proxy_idempotencykey set created_at = clock_timestamp()
where id = %s and request_id = %s
returning id
"""
KEEP = """
update proxy_idempotencykey
set answer = %s, answer_key_id = %s, finished_at = clock_timestamp()
where id = %s and request_id = %s
"""
FREE = f"""
delete from proxy_idempotencykey k
where k.id = %s and k.request_id = %s and k.finished_at is null
  and not exists (select from billing_hold h where h.id = k.request_id)
  and not exists ({USAGE.format(what="")} and u.state <> 'voided')
"""  # noqa: S608 - made of constants


class Replay(Struct, frozen=True):
    """An answer that was given before, and the request it was given to."""

    request_id: UUID
    body: bytes


class Claim:
    """One request's right to its ``Idempotency-Key``."""

    def __init__(self, reader: Reader, row_id: int, request_id: UUID) -> None:
        self.reader = reader
        self.row_id = row_id
        self.request_id = request_id
        self.kept = False

    async def confirm(self) -> bool:
        """Tell, once there is a hold, whether the key is still this request's: now for good."""
        try:
            return bool(await self.reader.rows(CONFIRM, (self.row_id, self.request_id)))
        except AWAY as error:
            log.warning("An idempotency key was not confirmed", error=type(error).__name__)
            return False

    async def keep(self, body: bytes) -> None:
        """Keep an answer, sealed; one that is too large leaves the receipt only."""
        answer: bytes | None = None
        sealed_by = ""
        if len(body) <= LARGEST_ANSWER_BYTES:
            answer, sealed_by = crypto.seal(body)
        self.kept = await self._run(KEEP, (answer, sealed_by, self.row_id, self.request_id))

    async def release(self) -> None:
        """Free the key where nothing was billed; what was kept stays."""
        if not self.kept:
            await self._run(FREE, (self.row_id, self.request_id))

    async def _run(self, query: str, parameters: tuple[Any, ...]) -> bool:
        try:
            await self.reader.rows(query, parameters)
        except AWAY as error:
            # The rows of hold and usage still tell what became of the request.
            log.warning("An idempotency key was not updated", error=type(error).__name__)
            return False
        return True


def fingerprint(*, caller: Caller, body: bytes) -> bytes:
    """Return what two equal requests have in common: the workspace and the body's bytes."""
    return hashlib.sha256(b"%d:" % caller.workspace.id + body).digest()


async def claim(
    reader: Reader, *, word: bytes, endpoint: str, caller: Caller, body_digest: bytes, id: UUID
) -> Claim | Replay:
    """
    Take an ``Idempotency-Key`` for a request, or return what was answered under it.

    :raises ApiError: 400 no key at all; 409 in flight, ended, or of another body; 503
    """
    if not 0 < len(word) <= LONGEST_KEY:
        message = f"Idempotency-Key takes 1 to {LONGEST_KEY} characters."
        raise bad_parameter(message, param="Idempotency-Key")
    place = (caller.key.id, endpoint, hashlib.sha256(word).digest())
    freed: UUID | None = None
    try:
        for _ in range(TRIES):
            taken = await reader.rows(TAKE, (*place, body_digest, id, freed))
            if taken:
                return Claim(reader, taken[0][0], id)
            found = await reader.rows(FIND, place)
            if found:
                *row, voided_on = found[0]
                if voided_on is None:
                    return judge(row, body_digest)
                freed = row[1]
                await reader.rows(ledger.REPEAT, (freed, voided_on))
    except AWAY as error:
        raise store_away(error) from error
    raise in_progress()


def judge(row: Sequence[Any], body_digest: bytes) -> Replay:
    """
    Return the answer that is kept under a key that is taken.

    :raises ApiError: 409 with its reason
    """
    print_, request_id, answer, sealed_by, finished, held, stream, closed_s = row
    if bytes(print_) != body_digest:
        message = "This Idempotency-Key was used with another request. Use a new key."
        raise ApiError("idempotency_key_reused", message, headers=NO_RETRY)
    if answer is not None:
        try:
            return Replay(request_id, crypto.unseal(bytes(answer), sealed_by))
        except UnreadableSecret as error:
            log.error("A kept answer cannot be read", error=str(error))
            raise completed(request_id) from None
    settling = not stream and (closed_s is None or closed_s < SETTLED_S)
    if not finished and (held or closed_s is None or settling):
        raise in_progress()
    raise completed(request_id)


def in_progress() -> ApiError:
    """Return the 409 for a request that still runs."""
    message = "A request with this Idempotency-Key is under way. Please retry."
    return ApiError("idempotency_in_progress", message, headers=retry_headers(after_ms=RETRY_MS))


def completed(request_id: UUID) -> ApiError:
    """Return the 409 for a request that has ended and whose answer is not kept."""
    receipt = ids.form("req_", request_id)
    return ApiError(
        "idempotency_completed",
        f"The request with this Idempotency-Key has ended; its answer is not kept. "
        f"Its receipt is {receipt}.",
        headers=NO_RETRY,
        receipt_id=receipt,
    )
