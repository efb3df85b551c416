"""How providers do: the last hour, what they cost, what they say themselves, who rests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import Sum
from redis.exceptions import RedisError

from billing import summaries
from billing.summaries import By
from common.redis import client
from proxy import breakers
from proxy.models import ProviderReport, Trial

HOUR: Final = timedelta(hours=1)
REPORT_DAYS: Final = 35
# Of a busy hour the newest attempts tell enough, and cost the same however busy it was.
MOST_ATTEMPTS: Final = 20_000
ATTEMPTS: Final = """
select provider, count(*), count(*) filter (where outcome <> 'won'),
    percentile_disc(0.5) within group (order by latency_ms),
    percentile_disc(0.95) within group (order by latency_ms), max(request_id::text)
from (
    select provider, outcome, latency_ms, request_id from proxy_attempt
    where request_id >= %(since)s and day between %(first)s and %(last)s
    order by request_id desc limit %(most)s
) newest
group by provider
"""


@dataclass(frozen=True, slots=True)
class Rest:
    """A route that is kept out of the way: until when, and whether a probe may pass by now."""

    upstream_model: str
    until: datetime
    probing: bool


@dataclass(frozen=True, slots=True)
class Spend:
    """What a provider costs, trials included, in nano-dollars."""

    today: int = 0
    month: int = 0
    trials: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """One provider; ``rests`` is None where Redis does not tell."""

    calls: int = 0
    failed: int = 0
    median_ms: int | None = None
    slow_ms: int | None = None
    last_used: datetime | date | None = None
    spend: Spend = field(default_factory=Spend)
    report: ProviderReport | None = None
    rests: Sequence[Rest] | None = ()

    @property
    def error_rate(self) -> float:
        """The share of attempts that won nothing, between 0 and 1."""
        return self.failed / self.calls if self.calls else 0.0

    @property
    def state(self) -> str:
        """The state of its breakers in a word."""
        if self.rests is None:
            return "unknown"
        if not self.rests:
            return "closed"
        return "probing" if all(rest.probing for rest in self.rests) else "open"


@dataclass(frozen=True, slots=True)
class Used:
    """Attempts of the last hour: how many, how many won nothing, how long they took, the last."""

    calls: int
    failed: int
    median_ms: int | None
    slow_ms: int | None
    last: datetime


def read(*, now: datetime) -> Mapping[str, Health]:
    """All providers by slug; one that nobody called is not there."""
    used, rests = _used(now), _rests(now)
    spend, days = _spend(now.astimezone(UTC).date())
    reports = _reports(now.date())
    slugs = {*used, *spend, *reports, *(rests or ())}
    found: dict[str, Health] = {}
    for slug in slugs:
        hour = used.get(slug)
        found[slug] = Health(
            calls=hour.calls if hour else 0,
            failed=hour.failed if hour else 0,
            median_ms=hour.median_ms if hour else None,
            slow_ms=hour.slow_ms if hour else None,
            last_used=hour.last if hour else days.get(slug),
            spend=spend.get(slug, Spend()),
            report=reports.get(slug),
            rests=None if rests is None else rests.get(slug, []),
        )
    return found


def _used(now: datetime) -> dict[str, Used]:
    since = now - HOUR
    bounds: dict[str, Any] = {
        "since": UUID(int=int(since.timestamp() * 1000) << 80),
        "first": since.astimezone(UTC).date(),
        # The day of a call is its admission's, by a clock that may be ahead of ours.
        "last": now.astimezone(UTC).date() + timedelta(days=1),
        "most": MOST_ATTEMPTS,
    }
    with connection.cursor() as cursor:
        cursor.execute(ATTEMPTS, bounds)
        return {
            slug: Used(calls, failed, median_ms, slow_ms, _time(UUID(newest)))
            for slug, calls, failed, median_ms, slow_ms, newest in cursor.fetchall()
        }


def _time(request_id: UUID) -> datetime:
    return datetime.fromtimestamp((request_id.int >> 80) / 1000, UTC)


def _spend(today: date) -> tuple[dict[str, Spend], dict[str, date]]:
    """What providers cost, and the last day of this month on which each was used."""
    first = today.replace(day=1)
    by = [By.PROVIDER, By.DAY]
    wanted = ("requests", "upstream_cost")
    groups = summaries.used(by=by, first=first, last=today, measures=wanted)
    month: dict[str, int] = defaultdict(int)
    day: dict[str, int] = defaultdict(int)
    last: dict[str, date] = {}
    for group in groups:
        slug, when = group.key
        if not slug:
            continue
        month[slug] += group.used.upstream_cost
        day[slug] += group.used.upstream_cost if when == today else 0
        last[slug] = max(when, last.get(slug, when))
    tried = _tried(first)
    tried_today = _tried(today)
    slugs = {*month, *tried}
    return {
        slug: Spend(
            today=day[slug] + tried_today.get(slug, 0),
            month=month[slug] + tried.get(slug, 0),
            trials=tried.get(slug, 0),
        )
        for slug in slugs
    }, last


def _tried(first: date) -> dict[str, int]:
    since = datetime(first.year, first.month, first.day, tzinfo=UTC)
    rows = Trial.objects.filter(at__gte=since).order_by().values_list("provider__slug")
    return dict(rows.annotate(nanos=Sum("cost_nanos")))


def _reports(today: date) -> dict[str, ProviderReport]:
    rows = ProviderReport.objects.filter(day__gte=today - timedelta(days=REPORT_DAYS))
    newest = rows.select_related("provider").order_by("day")
    return {report.provider.slug: report for report in newest}


def _rests(now: datetime) -> dict[str, list[Rest]] | None:
    """What rests, as processes have told each other; None where Redis does not answer."""
    try:
        told: Mapping[bytes, bytes] = client().hgetall(breakers.HASH)  # type: ignore[assignment]  # not awaited: the client blocks
    except RedisError:
        return None
    found: dict[str, list[Rest]] = defaultdict(list)
    for name, text in told.items():
        slug, _, upstream_model = name.decode().partition(" ")
        until = datetime.fromtimestamp(float(text.split()[0]), UTC)
        if until > now - timedelta(seconds=breakers.FORGET_AFTER_S):
            found[slug].append(Rest(upstream_model, until, probing=until <= now))
    return dict(found)
