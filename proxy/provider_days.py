"""What we know of one provider's day: its calls, what they cost us, and at which prices."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

from django.db import connection
from msgspec import Struct

from billing import prices, pricing
from billing.models import Price
from billing.prices import Version
from billing.pricing import Tokens
from common import ids
from proxy.costreports.base import Call
from proxy.models import Route

CALLS: Final = """
select request_id, max(upstream_id), sum(cost)::bigint, max(route_id),
    bool_or(outcome = 'won' or cost > 0), day = %(day)s
from proxy_attempt
where provider = %(provider)s and day between %(day)s::date - 1 and %(day)s
    and request_id >= %(oldest)s
group by request_id, day
union all
-- What staff tried is on the provider's bill as well.
select t.id, t.upstream_id, t.cost_nanos, t.route_id, t.outcome = 'answered',
    (t.at at time zone 'UTC')::date = %(day)s
from proxy_trial t join proxy_provider p on p.id = t.provider_id
where p.slug = %(provider)s
    and (t.at at time zone 'UTC')::date between %(day)s::date - 1 and %(day)s
    and t.outcome <> 'running' and (t.outcome = 'answered' or t.cost_nanos > 0)
order by 1
"""


class Taken(Struct, frozen=True):
    """Which route a call took, and when."""

    route_id: int | None
    at: datetime


class ProviderDay(Struct, frozen=True):
    """Our calls by request id, lost attempts included, and the ids of the day before."""

    calls: Mapping[str, Call]
    before: frozenset[str]
    taken: Mapping[str, Taken]
    versions: Mapping[int, Sequence[Version]]

    @property
    def nanos(self) -> int:
        """What they cost us."""
        return sum(call.cost for call in self.calls.values())

    def price(self, name: str, prompt: int, output: int, finished: bool) -> int:
        """Return what tokens that the provider counted of one of our calls cost us."""
        rates = self._rates(self.taken[name])
        if rates is None:
            return 0
        if rates.image or rates.per_call:
            # Counts of tokens do not tell what a picture costs; that it was made does.
            return self.calls[name].cost if finished else 0
        return pricing.cost_nanos(rates=rates, tokens=Tokens(input=prompt, output=output))

    def _rates(self, taken: Taken) -> pricing.Rates | None:
        versions = self.versions.get(taken.route_id or 0, ())
        index = bisect_right(versions, taken.at, key=lambda version: version.effective_from)
        return versions[index - 1].rates if index else None


def of(*, slug: str, day: date) -> ProviderDay:
    """Read one provider's day."""
    # Ids begin with their time, which bounds what has to be read of a month.
    oldest = datetime.combine(day - timedelta(days=3), time(), UTC)
    with connection.cursor() as cursor:
        cursor.execute(CALLS, {"provider": slug, "day": day, "oldest": _first_id(oldest)})
        rows = cursor.fetchall()
    mine = {ids.form("req_", row[0]): row for row in rows if row[5]}
    return ProviderDay(
        calls={
            name: Call(upstream_id=row[1], cost=row[2], certain=row[4])
            for name, row in mine.items()
        },
        before=frozenset(ids.form("req_", row[0]) for row in rows if not row[5]),
        taken={name: Taken(row[3], _time(row[0])) for name, row in mine.items()},
        versions=_versions({row[3] for row in mine.values()}),
    )


def _versions(route_ids: Iterable[int | None]) -> dict[int, list[Version]]:
    routes = Route.objects.filter(pk__in=[each for each in route_ids if each is not None])
    subjects = {route.subject: route.pk for route in routes.select_related("model", "provider")}
    found: dict[int, list[Version]] = {route_id: [] for route_id in subjects.values()}
    rows = Price.objects.filter(role=Price.Role.COST, subject__in=subjects)
    for row in rows.order_by("effective_from"):
        found[subjects[row.subject]].append(prices.version_of(row))
    return found


def _first_id(moment: datetime) -> UUID:
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def _time(request_id: UUID) -> datetime:
    return datetime.fromtimestamp((request_id.int >> 80) / 1000, UTC)
