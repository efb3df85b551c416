"""Ending and deleting what is kept: generations that nobody finishes, answers past their time."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import connection, transaction
from msgspec import Struct

from billing import ledger
from common.errors import ApiError
from proxy import generations

log = structlog.get_logger(__name__)

# A worker that is free takes a generation within milliseconds.
WAITED_S = 10.0
MOST = 1000
WAITING = """
select id from proxy_generation
where status = 'pending' and background and claimed_at is null
  and created_at < clock_timestamp() - make_interval(secs => %s)
order by created_at limit %s
"""
# Only an unclaimed one, and never a claimed one after: nothing of it was ever dispatched.
ABANDON = """
update proxy_generation
set status = 'failed', sealed = null, error = %s::jsonb
where id in (
    select id from proxy_generation
    where status = 'pending' and background and claimed_at is null
      and created_at < clock_timestamp() - make_interval(secs => %s)
    order by created_at limit %s
    for update skip locked
)
returning id
"""
EXPIRE_GENERATIONS = """
delete from proxy_generation where id in (
    select id from proxy_generation
    where expires_at < clock_timestamp() and status <> 'pending'
    order by expires_at limit %s)
"""
EXPIRE_KEYS = """
delete from proxy_idempotencykey where id in (
    select id from proxy_idempotencykey
    where expires_at < clock_timestamp()
    order by expires_at limit %s)
"""


class Report(Struct, frozen=True):
    """What one round did; ``waiting`` are to be put into the queue again."""

    resolved: int
    abandoned: int
    expired: int
    waiting: tuple[UUID, ...]


def tidy() -> Report:
    """End what has no maker, delete what is past its time, name what still waits."""
    report = Report(
        resolved=len(_rows(generations.RESOLVE, generations.resolution(id=None))),
        abandoned=abandon(),
        expired=_expire(EXPIRE_GENERATIONS) + _expire(EXPIRE_KEYS),
        waiting=tuple(row[0] for row in _rows(WAITING, (WAITED_S, MOST))),
    )
    if report.resolved or report.abandoned:
        log.warning("Generations were lost", resolved=report.resolved, abandoned=report.abandoned)
    return report


def abandon() -> int:
    """Fail what no worker took in a hold's time, and give its money back."""
    message = "No worker was free to make this generation. Nothing was charged."
    error = msgspec.json.encode(ApiError("internal", message).error()).decode()
    with transaction.atomic():
        found = [row[0] for row in _rows(ABANDON, (error, settings.HOLD_TTL_S, MOST))]
    if found:
        # Where a row is locked just now, the sweep closes its hold instead.
        _rows(ledger.VOID, (found, True))
    return len(found)


def _expire(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, [MOST])
        return int(cursor.rowcount)


def _rows(query: str, parameters: tuple[Any, ...]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())
