"""
What was used, summed for pages: the roll-ups and, in the same statement, the tail.

The tail is what was written since the last roll-up. So the figures are exact now, and cost
what the range's sums and one minute of usage cost, not what the table holds. Where no key is
asked for, the sums without keys are read, where no workspace is, those of all of them: a few
rows per day however many keys and customers there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from django.db import connection

from billing import rankings


class By(StrEnum):
    """What usage can be grouped by."""

    DAY = "day"
    HOUR = "hour"
    MODEL = "model"
    KEY = "key_id"
    PROVIDER = "provider"
    ASSET = "asset"
    WORKSPACE = "workspace_id"


@dataclass(frozen=True, slots=True)
class Used:
    """
    Sums over some requests: money in nano-dollars, but ``charged`` and ``uncollected``,
    which are in units of the asset.
    """

    requests: int = 0
    errors: int = 0
    cancelled: int = 0
    unknown: int = 0
    charged: int = 0
    spent: int = 0
    uncollected: int = 0
    cost: int = 0
    upstream_cost: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    pictures: int = 0
    searches: int = 0
    first_bytes: int = 0
    first_byte_ms: int = 0
    latencies: int = 0
    latency_ms: int = 0

    @property
    def error_rate(self) -> float:
        """The share of requests that failed, between 0 and 1."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def mean_latency_ms(self) -> int | None:
        """The mean time to the end of an answer; None where none was measured."""
        return self.latency_ms // self.latencies if self.latencies else None

    @property
    def mean_first_byte_ms(self) -> int | None:
        """The mean time to the first byte; None where none was measured."""
        return self.first_byte_ms // self.first_bytes if self.first_bytes else None


@dataclass(frozen=True, slots=True)
class Group:
    """One group's key, in the order that was asked for, and its sums."""

    key: tuple[Any, ...]
    used: Used


@dataclass(frozen=True, slots=True)
class Rank:
    """The key of a group and what it is ranked by: a place that stays where others come in."""

    key: tuple[Any, ...]
    spent: int
    requests: int


NARROWING = frozenset({By.MODEL, By.KEY, By.PROVIDER, By.ASSET, By.WORKSPACE})
MEASURES = tuple(each.name for each in fields(Used))
RANKS = ("requests", "spent")
# PostgreSQL's number of a day less Python's.
JULIAN_OF_ORDINAL = 1721425
COUNTED = {
    "requests": "sign",
    "errors": "case when status is null or status >= 400 then sign else 0 end",
    "cancelled": "case when cancelled then sign else 0 end",
    "unknown": "case when unknown then sign else 0 end",
    "spent": "sign * charged * unit_nanos",
    "first_bytes": "case when first_byte_ms is null then 0 else sign end",
    "first_byte_ms": "sign * coalesce(first_byte_ms, 0)",
    "latencies": "case when latency_ms is null then 0 else sign end",
    "latency_ms": "sign * coalesce(latency_ms, 0)",
}
HOUR_OF_RECORD = "extract(hour from created_at at time zone 'UTC')::smallint"
# Names of columns only; whatever comes from outside is a parameter.
READ = """
select mark.through, grouped.*
from billing_rollupmark mark
left join (
    select {keys}, {sums}
    from (
        select {keys}, {measures} from {table} where {where}
        union all
        select {record_keys}, {counted} from billing_usageflow
        where written >= %(through)s and {where}
    ) row
    group by {keys} having sum(requests) <> 0 {end}
) grouped on true
"""


Narrow = int | str | Sequence[int] | Sequence[str]


def used(
    *,
    by: Sequence[By],
    first: date,
    last: date,
    workspace_id: int | Sequence[int] | None = None,
    measures: Sequence[str] = MEASURES,
    **equal: Narrow,
) -> list[Group]:
    """
    Sum usage of some days into groups; ``equal`` narrows it, e.g. ``key_id=1, asset="USD"``.

    Without a workspace it is that of all of them, for staff. What is not among ``measures`` is
    not summed, and 0.

    :raises ValueError: a name to narrow by that usage is not summed by
    """
    narrowed = _narrowed(workspace_id, equal)
    statement = _statement(by=by, narrowed=narrowed, measures=measures)
    rows = _read(statement, narrowed, first=first, last=last)
    return [_group(row, len(by), measures) for row in rows]


def dearest(
    *,
    by: Sequence[By],
    first: date,
    last: date,
    count: int,
    after: Rank | None = None,
    including: bool = False,
    newest_first: bool = False,
    workspace_id: int | Sequence[int] | None = None,
    **equal: Narrow,
) -> list[Rank]:
    """
    The keys of the dearest groups, by spent, then requests: ``count`` of them after a place.

    With ``including`` the group of that place comes first again, if it is still there; with
    ``newest_first`` those of the newest days. Only what they are ranked by is summed, keys and
    all workspaces by the week where they can be, so it is quick over very many of them.

    :raises ValueError: a name to narrow by that usage is not summed by
    """
    narrowed = _narrowed(workspace_id, equal)
    order = ", ".join([*["day desc"] * newest_first, "spent desc", "requests desc", *by])
    beyond, place = _beyond(by, after, newest_first=newest_first, including=including)
    end = f"{beyond} order by {order} limit {int(count)}"
    statement = _statement(by=by, narrowed=narrowed, measures=RANKS, end=end)
    given: Mapping[str, Any] = narrowed
    weeks = rankings.weeks_of(first, last)
    if list(by) == [By.WORKSPACE] and not narrowed and after is None:
        given = weeks.parameters
        statement = rankings.OF_ALL.format(
            look=rankings.FIRST_LOOK * count,
            last=count - 1,
            few=rankings.MOST_LOOKED_AT,
            end=end,
        )
    elif By.KEY in by and {*by, *narrowed} <= {By.KEY, By.WORKSPACE}:
        if len(weeks.whole) >= rankings.LONG_WEEKS and By.WORKSPACE in {*by, *narrowed}:
            weeks = rankings.bounds_of(first, last)
        given = {**narrowed, **weeks.parameters}
        if By.WORKSPACE in {*by, *narrowed}:
            sure = "most + %(after_0)s < 0" if after else "true"
            few = _among_few(by=by, narrowed=narrowed, sure=sure, count=count, end=end)
            if rows := _read(few, {**given, **place}, first=first, last=last):
                return [_rank(row) for row in rows]
        sure = "spent + cut + %(after_0)s < 0" if after else "true"
        statement = _ranking(by=by, narrowed=narrowed, sure=sure, count=count, end=end)
    rows = _read(statement, {**given, **place}, first=first, last=last)
    return [_rank(row) for row in rows]


def _rank(row: Sequence[Any]) -> Rank:
    return Rank(tuple(row[1:-2]), spent=row[-1], requests=row[-2])


def _beyond(
    by: Sequence[By], after: Rank | None, *, newest_first: bool, including: bool
) -> tuple[str, dict[str, Any]]:
    """What groups have to be to come after a place, in the order of ``dearest``."""
    if after is None:
        return "", {}
    days = ["-extract(julian from day)"] * newest_first
    left = ", ".join([*days, "-sum(spent)", "-sum(requests)", *by])
    values = [-after.spent, -after.requests, *after.key]
    if newest_first:
        day = after.key[by.index(By.DAY)]
        values.insert(0, -(day.toordinal() + JULIAN_OF_ORDINAL))
    place = {f"after_{at}": value for at, value in enumerate(values)}
    right = ", ".join(f"%({name})s" for name in place)
    return f"and ({left}) {'>=' if including else '>'} ({right})", place


def total(*, first: date, last: date, workspace_id: int | None = None, **equal: Narrow) -> Used:
    """Sum usage of some days into one row.

    :raises ValueError: a name to narrow by that usage is not summed by
    """
    groups = used(
        by=[By.ASSET],
        first=first,
        last=last,
        workspace_id=workspace_id,
        measures=MEASURES,
        **equal,
    )
    rows = [[getattr(group.used, name) for name in MEASURES] for group in groups]
    return Used(*map(sum, zip(*rows, strict=True))) if rows else Used()


def _narrowed(
    workspace_id: int | Sequence[int] | None, equal: Mapping[str, Narrow]
) -> dict[str, list[Any]]:
    narrowed: dict[str, Any] = (
        dict(equal) if workspace_id is None else {"workspace_id": workspace_id, **equal}
    )
    if not NARROWING.issuperset(narrowed):
        raise ValueError(f"Usage is not summed by {' and '.join(sorted(narrowed))}.")
    # Lists, so that one statement does for one and for many, by the index of either.
    return {
        name: [value] if isinstance(value, int | str) else list(value)
        for name, value in narrowed.items()
    }


def _read(
    statement: str, narrowed: Mapping[str, Any], *, first: date, last: date
) -> list[Sequence[Any]]:
    days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    given = {**narrowed, "first": first, "last": last, "days": days}
    with connection.cursor() as cursor:
        while True:
            cursor.execute("select through from billing_rollupmark")
            through = cursor.fetchone()[0]
            cursor.execute(statement, {**given, "through": through})
            rows = cursor.fetchall()
            # A roll-up in between has moved records from the tail into the sums.
            if rows[0][0] == through:
                return [row for row in rows if row[1] is not None]


def _statement(
    *,
    by: Sequence[By],
    narrowed: Iterable[str],
    measures: Sequence[str] = MEASURES,
    end: str = "",
) -> str:
    names = [By(name) for name in narrowed]
    # Each day by itself where few keys are wanted: the index knows them by day.
    days = "day = any(%(days)s)" if By.KEY in names else "day between %(first)s and %(last)s"
    where = [days, *(f"{name} = any(%({name})s)" for name in names)]
    counted = (f"{COUNTED.get(name, f'sign * {name}')} as {name}" for name in measures)
    return READ.format(
        keys=", ".join(by),
        record_keys=", ".join(f"{HOUR_OF_RECORD} as hour" if b is By.HOUR else b for b in by),
        sums=", ".join(f"sum({name})::bigint as {name}" for name in measures),
        measures=", ".join(measures),
        counted=", ".join(counted),
        table=_table({*by, *names}),
        where=" and ".join(where),
        end=end,
    )


def _ranking(*, by: Sequence[By], narrowed: Iterable[str], sure: str, count: int, end: str) -> str:
    where = " and ".join(f"{By(name)} = any(%({name})s)" for name in narrowed)
    return rankings.RANK.format(
        keys=", ".join(by),
        keys_of_candidate=", ".join(f"candidate.{name}" for name in by),
        same=" and ".join(f"d.{name} = candidate.{name}" for name in by),
        where=where or "true",
        sure=sure,
        last=int(count) - 1,
        few=rankings.FEW,
        end=end,
    )


def _among_few(
    *, by: Sequence[By], narrowed: Iterable[str], sure: str, count: int, end: str
) -> str:
    where = " and ".join(f"{By(name)} = any(%({name})s)" for name in narrowed) or "true"
    groups = {
        group: rankings.EXACT.format(
            group=group,
            keys=", ".join(by),
            keys_of_group=", ".join(f"g.{name}" for name in by),
            same=" and ".join(f"d.{name} = g.{name}" for name in by),
            where=where,
        )
        for group in ("large", "other")
    }
    return rankings.OF_KEYS.format(
        **groups,
        keys=", ".join(by),
        where=where,
        look=rankings.FIRST_LOOK * count,
        last=count - 1,
        few=rankings.MOST_LOOKED_AT,
        sure=sure,
        end=end,
    )


def _table(names: Collection[By]) -> str:
    if By.HOUR in names:
        return "billing_usagehour"
    if By.KEY in names:
        return "billing_usageday"
    return "billing_usagemodel" if By.WORKSPACE in names else "billing_usagetotal"


def _group(row: Sequence[Any], keys: int, measures: Sequence[str]) -> Group:
    used = Used(**dict(zip(measures, row[keys + 1 :], strict=True)))
    return Group(key=tuple(row[1 : keys + 1]), used=used)
