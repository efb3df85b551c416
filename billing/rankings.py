"""
How the dearest of very many keys or workspaces are found: exactly, and without reading the days
of those that cannot be among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

# A range of fewer weeks is read day by day at its ends: its weeks bound nothing.
LONG_WEEKS: Final = 3
# Groups by the week, with the days that a range has more or less than its weeks. Of weeks that
# it cuts, the sums only bound what the days in it can be: days are read of those groups alone
# that may be among the dearest, one by one, or, where these are too many, all at once.
FEW: Final = 2_000
RANK: Final = """
select mark.through, grouped.*
from billing_rollupmark mark
left join (
    with bound as materialized (
        select {keys}, sum(requests) as requests, sum(spent) as spent, sum(cut) as cut
        from (
            select {keys}, requests, spent, 0 as cut from billing_usagekey
            where week = any(%(weeks)s::date[]) and {where}
            union all
            select {keys}, 0, 0, spent from billing_usagekey
            where week = any(%(cut)s::date[]) and {where}
            union all
            select {keys}, requests, spent, 0 from billing_usageday
            where day = any(%(more)s::date[]) and {where}
            union all
            select {keys}, -requests, -spent, 0 from billing_usageday
            where day = any(%(less)s::date[]) and {where}
            union all
            select {keys}, sign, sign * charged * unit_nanos, 0 from billing_usageflow
            where written >= %(through)s and day between %(first)s and %(last)s and {where}
        ) row
        group by {keys}
    ), candidate as materialized (
        select * from bound where spent + cut >= coalesce((
            select spent from bound where {sure} order by spent desc limit 1 offset {last}
        ), 0)
    ), few as materialized (
        select count(*) <= {few} as them from candidate
    ), day as (
        select {keys_of_candidate}, day_row.requests, day_row.spent
        from candidate, unnest(%(later)s::date[]) as wanted (day), lateral (
            select requests, spent from billing_usageday d
            where d.day = wanted.day and {same} and {where} offset 0
        ) day_row
        where (select them from few)
        union all
        select {keys}, requests, spent from billing_usageday
        where day = any(%(later)s::date[]) and {where} and not (select them from few)
    )
    select {keys}, sum(requests)::bigint as requests, sum(spent)::bigint as spent
    from (
        select {keys}, requests, spent from candidate
        union all
        select {keys}, requests, spent from day
    ) row
    group by {keys} having sum(requests) <> 0 {end}
) grouped on true
"""
# Those that spent most in all bound what the others can have spent in a range, so few are looked
# at: of all workspaces, and of keys. Where too many may be among the dearest, all are.
FIRST_LOOK: Final = 5
MOST_LOOKED_AT: Final = 2_000
OF_ALL: Final = """
select mark.through, grouped.*
from billing_rollupmark mark
left join (
    with tail as materialized (
        select workspace_id, sum(sign) as requests, sum(sign * charged * unit_nanos) as spent
        from billing_usageflow
        where written >= %(through)s and day between %(first)s and %(last)s
        group by 1
    ), large as materialized (
        select workspace_id from billing_usageplace order by spent desc limit {look}
    ), known as materialized (
        select workspace_id, sum(requests) as requests, sum(spent) as spent
        from (
            select d.workspace_id, d.requests, d.spent from large, lateral (
                select workspace_id, requests, spent from billing_usagemodel
                where workspace_id = large.workspace_id and day between %(first)s and %(last)s
                offset 0
            ) d
            union all
            select * from tail where workspace_id in (select workspace_id from large)
        ) row
        group by 1
    ), least as materialized (
        select coalesce((select spent from known order by spent desc limit 1 offset {last}), 0)
            as spent
    ), other as materialized (
        select workspace_id from billing_usageplace
        where spent >= (select spent from least)
        union
        select t.workspace_id from tail t left join billing_usageplace p using (workspace_id)
        where coalesce(p.spent, 0) + t.spent >= (select spent from least)
        except
        select workspace_id from large
    ), few as materialized (
        select count(*) <= {few} as them from other
    ), row as (
        select * from known where (select them from few)
        union all
        select d.workspace_id, d.requests, d.spent from other, lateral (
            select workspace_id, requests, spent from billing_usagemodel
            where workspace_id = other.workspace_id and day between %(first)s and %(last)s
            offset 0
        ) d
        where (select them from few)
        union all
        select * from tail
        where (select them from few) and workspace_id in (select workspace_id from other)
        union all
        select workspace_id, requests, spent from billing_usagekey
        where week = any(%(weeks)s::date[]) and not (select them from few)
        union all
        select workspace_id, requests, spent from billing_usagemodel
        where day = any(%(more)s::date[]) and not (select them from few)
        union all
        select workspace_id, -requests, -spent from billing_usagemodel
        where day = any(%(less)s::date[]) and not (select them from few)
        union all
        select * from tail where not (select them from few)
    )
    select workspace_id, sum(requests)::bigint as requests, sum(spent)::bigint as spent
    from row
    group by workspace_id having sum(requests) <> 0 {end}
) grouped on true
"""
# Nothing where too many may be: then all are looked at, by another statement.
OF_KEYS: Final = """
select mark.through, grouped.*
from billing_rollupmark mark
left join (
    with tail as materialized (
        select {keys}, sum(sign) as requests, sum(sign * charged * unit_nanos) as spent
        from billing_usageflow
        where written >= %(through)s and day between %(first)s and %(last)s and {where}
        group by {keys}
    ), life as materialized (
        select {keys}, sum(spent) as most
        from (
            select {keys}, spent from billing_usagelife where {where}
            union all
            select {keys}, spent from tail
        ) row
        group by {keys}
    ), large as materialized (
        select {keys} from life where {sure} order by most desc limit {look}
    ), known as materialized (
        {large}
    ), other as materialized (
        select {keys} from life where most >= coalesce((
            select spent from known order by spent desc limit 1 offset {last}
        ), 0)
    ), few as materialized (
        select count(*) <= {few} as them from other
    )
    select {keys}, sum(requests)::bigint as requests, sum(spent)::bigint as spent
    from ({other}) row
    where (select them from few)
    group by {keys} having sum(requests) <> 0 {end}
) grouped on true
"""
EXACT: Final = """
        select {keys}, sum(requests) as requests, sum(spent) as spent
        from (
            select {keys_of_group}, d.requests, d.spent from {group} g, lateral (
                select requests, spent from billing_usagekey d
                where week = any(%(weeks)s::date[]) and {same} and {where}
                union all
                select requests, spent from billing_usageday d
                where day = any(%(more)s::date[] || %(later)s::date[]) and {same} and {where}
                union all
                select -requests, -spent from billing_usageday d
                where day = any(%(less)s::date[]) and {same} and {where}
                offset 0
            ) d
            union all
            select {keys}, requests, spent from tail
            where ({keys}) in (select {keys} from {group})
        ) row
        group by {keys}
"""


@dataclass(frozen=True, slots=True)
class Weeks:
    """
    A range of days as whole weeks, by their Mondays, with days more and days less.

    Of weeks that are ``cut`` the days in the range are read ``later``, of few groups.
    """

    whole: list[date] = field(default_factory=list)
    more: list[date] = field(default_factory=list)
    less: list[date] = field(default_factory=list)
    cut: list[date] = field(default_factory=list)
    later: list[date] = field(default_factory=list)

    @property
    def parameters(self) -> dict[str, list[date]]:
        """As the statement names them."""
        parts = {"more": self.more, "less": self.less, "cut": self.cut, "later": self.later}
        return {"weeks": self.whole, **parts}


def weeks_of(first: date, last: date, *, today: date | None = None) -> Weeks:
    """
    A range as weeks; a week that is cut counts as whole where most of it is in the range.

    Days to come are no part of what most is: nothing was used on them, so to take them away from
    the week that goes on costs nothing.
    """
    found = Weeks()
    for days, inside, past in _weeks(first, last, today):
        if 2 * len(past & inside) > len(past):
            found.whole.append(min(days))
            found.less.extend(sorted(days - inside))
        else:
            found.more.extend(sorted(inside))
    return found


def bounds_of(first: date, last: date, *, today: date | None = None) -> Weeks:
    """The same, where days of a week that is cut are read later; those to come cut none."""
    found = Weeks()
    for days, inside, past in _weeks(first, last, today):
        if past <= inside:
            found.whole.append(min(days))
            found.less.extend(sorted(days - inside))
        else:
            found.cut.append(min(days))
            found.later.extend(sorted(inside))
    return found


def _weeks(
    first: date, last: date, today: date | None
) -> Iterator[tuple[set[date], set[date], set[date]]]:
    """The weeks that a range touches: their days, those in the range, those that are no future."""
    now = today or datetime.now(UTC).date()
    for monday in range(first.toordinal() - first.weekday(), last.toordinal() + 1, 7):
        # The calendar ends in the middle of a week.
        end = min(monday + 7, date.max.toordinal() + 1)
        days = {date.fromordinal(day) for day in range(monday, end)}
        past = {day for day in days if day <= now}
        yield days, {day for day in days if first <= day <= last}, past or days
