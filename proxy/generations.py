"""
The rows of ``/api/v2/generate``: opened when admitted, ended once, kept for a day.

    pending ──► completed   the answer is there and paid for
            └─► failed      refused, broken off, or its process died: content is gone

A call in the background waits unclaimed; exactly one worker claims it, and with it the hold.
From then on nobody else ever makes it. What a dead process leaves pending is ended by what
the ledger knows, once the sweep has closed its hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from django.conf import settings
from msgspec import Struct

from billing.pricing import Rates
from common import crypto, ids
from common.crypto import UnreadableSecret
from common.errors import ApiError
from proxy.connection import Reader
from proxy.wire.answers import Usage
from proxy.wire.call import Call

log = structlog.get_logger(__name__)

AWAY = (psycopg.Error, OSError, TimeoutError)
BALANCE = """
(select coalesce(sum(a.credits_posted - a.debits_posted - a.debits_pending)
                 - coalesce(sum(a.floor) filter (where a.kind = 'paid'), 0), 0)::bigint
 from billing_account a
 where a.workspace_id = g.workspace_id and a.asset = 'TOK' and a.kind in ('paid', 'granted'))
"""
OPEN = """
insert into proxy_generation
    (id, workspace_id, key_id, status, model, background, sealed, sealed_key_id, drafted,
     tokens_used, created_at, expires_at)
values (%s, %s, %s, 'pending', %s, %s, %s, %s, false, 0, statement_timestamp(),
        statement_timestamp() + make_interval(hours => %s))
"""
DRAFT = """
update proxy_generation set sealed = %s, sealed_key_id = %s, model = %s, drafted = true
where id = %s and status = 'pending'
"""
COMPLETE = f"""
update proxy_generation g
set status = 'completed', sealed = %s, sealed_key_id = %s, model = %s, drafted = false,
    tokens_used = %s, balance_remaining = {BALANCE}
where g.id = %s and g.status = 'pending'
returning g.balance_remaining
"""  # noqa: S608 - made of constants
FAIL = f"""
update proxy_generation g
set status = 'failed', sealed = null, drafted = false, tokens_used = 0, error = %s::jsonb,
    balance_remaining = {BALANCE}
where g.id = %s and g.status = 'pending'
returning g.model, g.balance_remaining
"""  # noqa: S608 - made of constants
FIND = f"""
select g.id, g.status, g.model, g.sealed, g.sealed_key_id, g.tokens_used,
       coalesce(g.balance_remaining, {BALANCE}), g.error::text
from proxy_generation g
where g.id = %s and g.workspace_id = %s and g.expires_at > clock_timestamp()
"""  # noqa: S608 - made of constants
# Whoever ran these is dead: the hold was closed, and nobody came back with the answer.
RESOLVE = f"""
update proxy_generation g
set status = case when paid then 'completed' else 'failed' end,
    tokens_used = case when paid then charged else 0 end,
    sealed = case when paid then g.sealed end,
    error = case when not paid then %s::jsonb end,
    drafted = false,
    balance_remaining = {BALANCE}
from (
    select w.id, w.drafted and u.state in ('settled', 'late') as paid, u.charged
    from proxy_generation w join billing_usage u on u.id = w.id
        and u.day between (w.created_at at time zone 'UTC')::date - 1
                      and (w.created_at at time zone 'UTC')::date + 2
    where w.status = 'pending' and (%s::uuid is null or w.id = %s)
      and u.closed_at < billing_now() - make_interval(secs => %s)
) ended
where g.id = ended.id and g.status = 'pending'
returning g.id
"""  # noqa: S608 - made of constants
# The claim and the hold's new owner are one statement: the sweep sees both or neither.
CLAIM = """
with mine as (
    update proxy_generation set claimed_at = clock_timestamp()
    where id = %s and status = 'pending' and background and claimed_at is null
    returning *
), held as (
    update billing_hold h
    set process_id = %s,
        expires_at = greatest(h.expires_at, billing_now() + make_interval(secs => %s))
    from mine where h.id = mine.id
    returning h.*
)
select mine.id, mine.workspace_id, mine.key_id, mine.sealed, mine.sealed_key_id, held.day,
       held.amount, held.unit_nanos, held.account_id, held.usd_account_id, held.model,
       held.price_id
from mine left join held on held.id = mine.id
"""


class Answer(Struct, frozen=True):
    """What of an answer is sealed."""

    content: str
    usage: tuple[int, int]


class Term(Struct, frozen=True):
    """
    One route that was admitted: its price, and the bounds of the call on it in tokens.

    What waits was written by an earlier version: every field added since has a default.
    """

    route_id: int
    price_id: int
    rates: Rates
    prompt_tokens: int | None = None
    output_tokens: int | None = None


class Submission(Struct, frozen=True):
    """A call that a worker is to make, at the prices it was admitted with."""

    call: Call
    output_limit: int | None
    terms: tuple[Term, ...]
    tpm: int | None = None
    # The body as it was sent, where it is to be kept with the answer.
    said: bytes | None = None


class Claimed(Struct, frozen=True):
    """A generation that is ours to make, and its hold."""

    id: UUID
    workspace_id: int
    key_id: int
    sealed: bytes
    sealed_by: str
    day: date
    amount: int
    unit_nanos: int
    account_id: int
    usd_account_id: int
    price_id: int
    model: str


class Row(Struct, frozen=True):
    """A generation as its workspace sees it."""

    id: UUID
    status: str
    model: str
    answer: Answer | None
    tokens_used: int
    balance_remaining: int | None
    error: dict[str, Any] | None = None

    def body(self) -> bytes:
        """Return the JSON object of NeuralBox's reference; ``error`` only where it failed."""
        done = self.answer if self.status == "completed" else None
        prompt, completion = done.usage if done else (0, 0)
        fields: dict[str, Any] = {
            "id": ids.form("gen_", self.id),
            "status": self.status,
            "model": self.model,
            "content": done.content if done else None,
            "tokens_used": self.tokens_used if done else 0,
            "balance_remaining": self.balance_remaining,
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
            "created_at": created_at(self.id),
        }
        if self.status == "failed":
            fields["error"] = self.error
        return msgspec.json.encode(fields)


def created_at(generation_id: UUID) -> str:
    """Return the time in a request's id, as ISO 8601 in UTC."""
    moment = datetime.fromtimestamp((generation_id.int >> 80) // 1000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def answer_of(content: str, usage: Usage) -> Answer:
    """Return an answer with the provider's raw counts."""
    return Answer(content, (usage.input + usage.cached + usage.cache_write, usage.output))


async def start(
    reader: Reader,
    *,
    id: UUID,
    workspace_id: int,
    key_id: int,
    model: str,
    submission: Submission | None,
) -> None:
    """
    Write a generation down before it is made; with a submission, for a worker.

    :raises psycopg.Error: the database is away
    """
    sealed, sealed_by = seal(submission) if submission else (None, "")
    background = submission is not None
    await reader.rows(
        OPEN,
        (id, workspace_id, key_id, model, background, sealed, sealed_by, settings.GENERATION_TTL_H),
    )


async def draft(reader: Reader, *, id: UUID, model: str, answer: Answer) -> None:
    """Keep an answer before it is paid for: a worker may die in between."""
    try:
        await reader.rows(DRAFT, (*seal(answer), model, id))
    except AWAY as error:
        log.warning("A generation was not drafted", error=type(error).__name__)


async def complete(
    reader: Reader, *, id: UUID, model: str, answer: Answer, tokens_used: int
) -> Row:
    """Keep an answer that is paid for; return it with the balance after it."""
    balance = None
    try:
        rows = await reader.rows(COMPLETE, (*seal(answer), model, tokens_used, id))
        balance = rows[0][0] if rows else None
    except AWAY as error:
        log.warning("A generation was not kept", error=type(error).__name__)
    return Row(id, "completed", model, answer, tokens_used, balance)


async def fail(reader: Reader, *, id: UUID, error: dict[str, Any], model: str = "") -> Row:
    """End a generation without an answer; return it with the balance after it."""
    balance = None
    try:
        rows = await reader.rows(FAIL, (msgspec.json.encode(error).decode(), id))
        model, balance = rows[0] if rows else (model, None)
    except AWAY as away:
        log.warning("A generation was not ended", error=type(away).__name__)
    return Row(id, "failed", model, None, 0, balance, error)


async def find(reader: Reader, *, id: UUID, workspace_id: int) -> Row | None:
    """
    Return a workspace's generation, none after its time.

    :raises psycopg.Error: the database is away
    """
    rows = await reader.rows(FIND, (id, workspace_id))
    if rows and rows[0][1] == "pending" and await resolve(reader, id=id):
        rows = await reader.rows(FIND, (id, workspace_id))
    return row_of(rows[0]) if rows else None


async def resolve(reader: Reader, *, id: UUID | None = None) -> int:
    """
    End what dead processes left pending, by what the ledger knows; return how many.

    :raises psycopg.Error: the database is away
    """
    return len(await reader.rows(RESOLVE, resolution(id=id)))


def resolution(*, id: UUID | None) -> tuple[Any, ...]:
    """Return the parameters of RESOLVE."""
    error = msgspec.json.encode(lost().error()).decode()
    return error, id, id, settings.SILENT_AFTER_S


def lost() -> ApiError:
    """Return the error of a generation whose process died."""
    message = "The server that made this generation stopped. Its receipt says what was charged."
    return ApiError("internal", message)


def row_of(row: Sequence[Any]) -> Row:
    """Read a row of FIND; a completed one that cannot be unsealed has failed for its reader."""
    id_, status, model, sealed, sealed_by, tokens_used, balance, error = row
    answer = None
    if status == "completed":
        try:
            answer = msgspec.json.decode(crypto.unseal(bytes(sealed), sealed_by), type=Answer)
        except UnreadableSecret as unreadable:
            log.error("A generation cannot be read", error=str(unreadable))
            return Row(id_, "failed", model, None, 0, balance, lost().error())
    told = msgspec.json.decode(error) if error else None
    return Row(id_, status, model, answer, tokens_used, balance, told)


async def claim(reader: Reader, *, id: UUID, process_id: int) -> Claimed | None:
    """
    Take a waiting generation and its hold over; None where another has it or it has ended.

    :raises psycopg.Error: the database is away
    """
    rows = await reader.rows(CLAIM, (id, process_id, settings.HOLD_TTL_S))
    if not rows:
        return None
    id_, workspace_id, key_id, sealed, sealed_by, day, *hold = rows[0]
    if day is None:
        await fail(reader, id=id, error=lost().error())
        return None
    amount, unit_nanos, account_id, usd_account_id, model, price_id = hold
    return Claimed(
        id=id_,
        workspace_id=workspace_id,
        key_id=key_id,
        sealed=bytes(sealed),
        sealed_by=sealed_by,
        day=day,
        amount=amount,
        unit_nanos=unit_nanos,
        account_id=account_id,
        usd_account_id=usd_account_id,
        price_id=price_id,
        model=model,
    )


def seal(value: Submission | Answer) -> tuple[bytes, str]:
    """Return what is kept of a prompt or an answer, and the id of its key."""
    return crypto.seal(msgspec.json.encode(value))
