"""Which calls are due to be closed by others than the gateway that took them."""

from __future__ import annotations

import time
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from msgspec import Struct

from billing.pricing import Tokens

LATE_EVIDENCE_H = 24
MOST_LATE = 200

# What waits for a worker belongs to no process: it is claimed, or abandoned in time.
# A database that was away could not take heartbeats: until its gateways had the time to
# send one, their silence means nothing, and what they spooled comes first. So an expired
# hold is left alone while its gateway is silent and not yet known to be dead: back from an
# outage it books what waits in its spool, then gives a sign of life.
HOLDS = """
with clock as (
    select billing_now() as now, clock_timestamp() as wall, make_interval(secs => %(silent_s)s)
        as silence, pg_postmaster_start_time() as up_at
)
select h.id, h.day, h.model, h.price_id, h.legs, h.surface, h.stream, h.amount, h.unit_nanos,
       h.created_at,
       greatest(extract(epoch from clock.now - h.expires_at),
                extract(epoch from clock.wall - silent_at))::float8,
       c.provider, c.route_id, c.price_id, c.upstream_id, c.bytes, c.input_tokens,
       c.cached_tokens, c.cache_write_tokens, c.output_tokens, c.reasoning_tokens, c.searches
from clock cross join billing_hold h
left join proxy_gatewayprocess p on p.id = h.process_id
left join proxy_checkpoint c on c.request_id = h.id
cross join lateral (
    select case when p.id is null then h.created_at
                when p.stopped_at is not null then p.stopped_at
                else greatest(p.heartbeat_at, up_at) + silence end as silent_at
) s
where h.id > %(after)s
  and ((silent_at <= clock.wall
        and (p.id is null or p.stopped_at is not null or p.id = any (%(dead)s)))
       or (h.expires_at <= clock.now and up_at + silence <= clock.wall
           and (p.id is null or p.heartbeat_at + silence > clock.wall)))
  and not exists (
      select from proxy_generation g
      where g.id = h.id and g.status = 'pending' and g.background and g.claimed_at is null)
order by h.id
limit %(limit)s
"""
# A database that stalled took no heartbeats either: who is dead stays silent while it answers.
SILENT = """
select p.id, p.heartbeat_at from proxy_gatewayprocess p
where p.stopped_at is null
  and p.heartbeat_at < clock_timestamp() - make_interval(secs => %s)
  and exists (select 1 from billing_hold h where h.process_id = p.id)
"""
# Expired without evidence: a lookup that was down may answer by now. Where the call may
# have gone, and under which id a provider knows it, is told by the attempts that it was
# closed with.
EXPIRED = """
select u.id, u.day, u.model, u.price_id,
       coalesce((select string_agg(a.route_id || ':' || a.price_id || ':' || a.searches, ' '
                                   order by a.n)
                 from proxy_attempt a where a.request_id = u.id and a.day = u.day), ''),
       u.surface, u.stream, u.hold, u.unit_nanos, u.created_at, 0::float8,
       k.provider, k.route_id, k.price_id, k.upstream_id, 0, 0, 0, 0, 0, 0, k.searches
from billing_usage u
left join lateral (
    select a.* from proxy_attempt a
    where a.request_id = u.id and a.day = u.day and a.outcome = 'unknown' and a.upstream_id <> ''
    order by a.n limit 1
) k on true
where u.unknown and u.state = 'expired'
"""
RECENT = """
  and u.closed_at > billing_now() - make_interval(hours => %(hours)s)
order by u.closed_at desc
limit %(limit)s
"""
ONE = "  and u.id = %(id)s"
OPEN = "select count(*) from billing_hold"
FIRST = UUID(int=0)


class Checkpoint(Struct, frozen=True):
    """What the gateway had counted, or was told, when it last wrote it down."""

    provider: str
    route_id: int | None
    price_id: int | None
    upstream_id: str
    bytes: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    searches: int

    @property
    def heard(self) -> bool:
        """Whether there was content; else it tells no more than where the call had gone."""
        return self.bytes > 0

    @property
    def tokens(self) -> Tokens:
        """What the call had used by then, as the ledger prices it."""
        return Tokens(
            input=self.input_tokens,
            cached=self.cached_tokens,
            cache_write=self.cache_write_tokens,
            output=self.output_tokens,
            reasoning=self.reasoning_tokens,
            searches=self.searches,
        )


class Leg(Struct, frozen=True):
    """One way that a call could take from its admission on."""

    route_id: int
    price_id: int
    searches: int = 0


class Call(Struct, frozen=True, kw_only=True):
    """A call to be closed; ``expired`` if it was closed once without evidence."""

    id: UUID
    day: date
    model: str
    price_id: int | None
    legs: tuple[Leg, ...]
    surface: str
    stream: bool
    hold: int
    unit_nanos: int
    created_at: datetime
    overdue_s: float
    checkpoint: Checkpoint | None
    expired: bool

    @property
    def hold_nanos(self) -> int:
        """What is held, in nano-dollars."""
        return self.hold * self.unit_nanos

    def upstream_id_at(self, provider: str) -> str:
        """Return the id that a provider gave the call, if it was written down."""
        noted = self.checkpoint
        return noted.upstream_id if noted is not None and noted.provider == provider else ""


def silent_processes() -> dict[int, datetime]:
    """Return gateways that hold money and were not heard of, with their last heartbeat."""
    with connection.cursor() as cursor:
        cursor.execute(SILENT, [settings.SILENT_AFTER_S])
        return dict(cursor.fetchall())


def dead_processes() -> list[int]:
    """Return the gateways that stay silent for a heartbeat longer, the database answering."""
    before = silent_processes()
    if not before:
        return []
    time.sleep(settings.HEARTBEAT_S * 1.2)
    now = silent_processes()
    return [process for process, heartbeat in before.items() if now.get(process) == heartbeat]


def holds(*, dead: list[int], after: UUID = FIRST, limit: int) -> list[Call]:
    """Return due holds in the order of their ids."""
    parameters = {
        "after": after,
        "limit": limit,
        "silent_s": settings.SILENT_AFTER_S,
        "dead": dead,
    }
    return _calls(HOLDS, parameters, expired=False)


def expired() -> list[Call]:
    """Return calls that were lately closed as unknown."""
    return _calls(EXPIRED + RECENT, {"hours": LATE_EVIDENCE_H, "limit": MOST_LATE}, expired=True)


def unknown(call_id: UUID) -> Call | None:
    """Return a call that was closed as unknown, however long ago; None for any other."""
    found = _calls(EXPIRED + ONE, {"id": call_id}, expired=True)
    return found[0] if found else None


def open_holds() -> int:
    """Count the holds that are open now."""
    with connection.cursor() as cursor:
        cursor.execute(OPEN)
        return int(cursor.fetchone()[0])


def _calls(query: str, parameters: dict[str, Any], *, expired: bool) -> list[Call]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return [
            Call(
                id=row[0],
                day=row[1],
                model=row[2],
                price_id=row[3],
                legs=legs_of(row[4]),
                surface=row[5],
                stream=row[6],
                hold=row[7],
                unit_nanos=row[8],
                created_at=row[9],
                overdue_s=row[10],
                checkpoint=Checkpoint(*row[11:]) if row[11] is not None else None,
                expired=expired,
            )
            for row in cursor.fetchall()
        ]


def legs_of(plan: str) -> tuple[Leg, ...]:
    """Read what a hold keeps of its legs: ``route:price`` or ``route:price:searches`` of each."""
    return tuple(Leg(*map(int, leg.split(":"))) for leg in plan.split())
