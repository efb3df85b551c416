"""
Groups of usage by the page: days the newest first, then the dearest first.

Whatever a page costs may not grow with the number of keys more than one quick ranking does: the
sums of a page's rows are read for these rows only, days are read one after the other, and where
keys are parted further, the dearest key comes first with all its parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from billing import summaries
from billing.summaries import By, Group
from common.pagination import Position, Wanted

# A few keys' days are looked up by index; more than these are read as a whole.
MOST_LOOKED_UP: Final = 2000
LEADING: Final = (By.WORKSPACE, By.KEY)


def page(
    *, by: Sequence[By], first: date, last: date, narrowed: Mapping[str, Any], wanted: Wanted
) -> tuple[list[Group], Position | None]:
    """The groups of one page, and the next position."""
    end, behind, skip = _position(wanted.after, last)
    if By.DAY in by:
        found = _newest(by, first, min(end, last), skip, narrowed, wanted.limit + 1)
    elif By.KEY in by:
        return _by_key(by, first, last, (end, behind, skip), narrowed, wanted.limit)
    else:
        found = _ranked(by, first, last, skip, narrowed, wanted.limit + 1)
    if len(found) <= wanted.limit:
        return found, None
    shown = found[: wanted.limit]
    return shown, _after(by, shown, end, skip)


def _position(after: Position | None, last: date) -> tuple[date, int, int]:
    """The day a page begins at, how many keys lie behind, and groups (of that day or key)."""
    if after is None:
        return last, 0, 0
    return date.fromisoformat(after[0]), int(after[1]), int(after[2])


def _after(by: Sequence[By], shown: Sequence[Group], end: date, skip: int) -> Position:
    if By.DAY not in by:
        return [end.isoformat(), 0, skip + len(shown)]
    at = by.index(By.DAY)
    day = shown[-1].key[at]
    same = sum(group.key[at] == day for group in shown)
    return [day.isoformat(), 0, same + (skip if day == end else 0)]


def _lead(by: Sequence[By], key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part for name, part in zip(by, key, strict=True) if name in LEADING)


def _by_key(
    by: Sequence[By],
    first: date,
    last: date,
    after: tuple[date, int, int],
    narrowed: Mapping[str, Any],
    limit: int,
) -> tuple[list[Group], Position | None]:
    """Groups of the dearest keys, each key's together."""
    end, behind, skip = after
    leading = [name for name in by if name in LEADING]
    # Each key has at least one group; those of the first may all be behind.
    ranked = summaries.dearest(
        by=leading, first=first, last=last, count=limit + 2, after=behind, **narrowed
    )
    rank = {lead: at for at, lead in enumerate(ranked)}
    sums = _sums(by, leading, ranked, first, last, narrowed)
    groups = [group for group in sums if _lead(by, group.key) in rank]
    groups.sort(key=lambda group: (rank[_lead(by, group.key)], *_dear(group)))
    shown = groups[skip : skip + limit]
    if len(groups) <= skip + limit:
        return shown, None
    lead = _lead(by, shown[-1].key)
    told = sum(_lead(by, group.key) == lead for group in groups[: skip + limit])
    return shown, [end.isoformat(), behind + rank[lead], told]


def _dear(group: Group) -> tuple[Any, ...]:
    return (-group.used.spent, -group.used.requests, group.key)


def _newest(
    by: Sequence[By],
    first: date,
    end: date,
    skip: int,
    narrowed: Mapping[str, Any],
    count: int,
) -> list[Group]:
    found: list[Group] = []
    # Without keys a range has few groups, however long it is.
    spans = _spans(first, end) if By.KEY in by else [(first, end)] if first <= end else []
    for since, until in spans:
        rest = count - len(found)
        if rest <= 0:
            break
        behind = skip if until == end else 0
        found += _ranked(by, since, until, behind, narrowed, rest)
    return found


def _spans(first: date, end: date) -> Iterator[tuple[date, date]]:
    """Days from the newest on: one alone, then twice as many each time."""
    days = 1
    while end >= first:
        since = max(first, end - timedelta(days=days - 1))
        yield since, end
        if since == first:
            return
        end, days = since - timedelta(days=1), days * 2


def _ranked(
    by: Sequence[By],
    first: date,
    last: date,
    skip: int,
    narrowed: Mapping[str, Any],
    count: int,
) -> list[Group]:
    ranked = summaries.dearest(
        by=by,
        first=first,
        last=last,
        count=count,
        after=skip,
        newest_first=By.DAY in by,
        **narrowed,
    )
    return _summed(by, ranked, first, last, narrowed)


def _summed(
    by: Sequence[By],
    ranked: Sequence[tuple[Any, ...]],
    first: date,
    last: date,
    narrowed: Mapping[str, Any],
) -> list[Group]:
    """The sums of the groups with these keys, in their order."""
    sums = {group.key: group for group in _sums(by, by, ranked, first, last, narrowed)}
    return [sums[key] for key in ranked if key in sums]


def _sums(
    by: Sequence[By],
    named: Sequence[By],
    ranked: Sequence[tuple[Any, ...]],
    first: date,
    last: date,
    narrowed: Mapping[str, Any],
) -> list[Group]:
    """The sums of all groups of the keys and days that are named."""
    if not ranked:
        return []
    only = dict(narrowed)
    if By.KEY in named:
        keys = {key[named.index(By.KEY)] for key in ranked}
        if len(keys) <= MOST_LOOKED_UP:
            only[By.KEY] = sorted(keys)
    if By.DAY in named:
        days = [key[named.index(By.DAY)] for key in ranked]
        first, last = min(days), max(days)
    return summaries.used(by=by, first=first, last=last, **only)
