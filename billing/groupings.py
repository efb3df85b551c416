"""
Groups of usage by the page: days the newest first, then the dearest first.

Whatever a page costs may not grow with the number of keys more than one quick ranking does: the
sums of a page's rows are read for these rows only, days are read one after the other, and where
keys are parted further, the dearest key comes first with all its parts.

A page goes on after the rank of the last group, not after so many: what is used meanwhile moves
the groups that it belongs to, and no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from billing import summaries
from billing.summaries import By, Group, Rank
from common.errors import bad_parameter
from common.pagination import Position, Wanted

# A few keys' days are looked up by index; more than these are read as a whole.
MOST_LOOKED_UP: Final = 2000
LEADING: Final = (By.WORKSPACE, By.KEY)


def page(
    *, by: Sequence[By], first: date, last: date, narrowed: Mapping[str, Any], wanted: Wanted
) -> tuple[list[Group], Position | None]:
    """
    The groups of one page, and the next position: what it goes on after, not how many.

    :raises common.errors.ApiError: 400 the position is one of other groups
    """
    if By.KEY in by and By.DAY not in by:
        return _by_key(by, first, last, narrowed, wanted)
    after = _rank(by, wanted.after) if wanted.after is not None else None
    if By.DAY in by:
        found = _newest(by, first, last, after, narrowed, wanted.limit + 1)
    else:
        found = _ranked(by, first, last, after, narrowed, wanted.limit + 1)
    shown = [group for _, group in found[: wanted.limit]]
    return shown, _told(found[wanted.limit - 1][0]) if len(found) > wanted.limit else None


def _told(rank: Rank) -> Position:
    """A place as JSON can hold it."""
    key = [part.isoformat() if isinstance(part, date) else part for part in rank.key]
    return [rank.spent, rank.requests, key]


def _rank(by: Sequence[By], told: Position) -> Rank:
    try:
        spent, requests, key = told
        parts = tuple(_part(name, part) for name, part in zip(by, key, strict=True))
        return Rank(parts, int(spent), int(requests))
    except (TypeError, ValueError):
        raise bad_parameter("This is no cursor of this list.", param="cursor") from None


def _part(name: By, part: Any) -> Any:
    if name is By.DAY:
        return date.fromisoformat(part)
    if isinstance(part, int) != (name in LEADING):
        raise ValueError(f"{part!r} is no {name}")
    return part


def _lead(by: Sequence[By], key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part for name, part in zip(by, key, strict=True) if name in LEADING)


def _by_key(
    by: Sequence[By], first: date, last: date, narrowed: Mapping[str, Any], wanted: Wanted
) -> tuple[list[Group], Position | None]:
    """Groups of the dearest keys, each key's together."""
    leading = [name for name in by if name in LEADING]
    lead, behind = _places(by, leading, wanted.after)
    # Each key has at least one group; those of the first may all be behind.
    ranked = summaries.dearest(
        by=leading,
        first=first,
        last=last,
        count=wanted.limit + 2,
        after=lead,
        including=True,
        **narrowed,
    )
    rank = {each.key: at for at, each in enumerate(ranked)}
    sums = _sums(by, leading, [each.key for each in ranked], first, last, narrowed)
    groups = [group for group in sums if _lead(by, group.key) in rank]
    if lead is not None and behind is not None:
        groups = [
            group
            for group in groups
            if _lead(by, group.key) != lead.key or _dear(group) > _order(behind)
        ]
    groups.sort(key=lambda group: (rank[_lead(by, group.key)], *_dear(group)))
    shown = groups[: wanted.limit]
    if len(groups) <= wanted.limit:
        return shown, None
    end = shown[-1]
    place = Rank(end.key, end.used.spent, end.used.requests)
    return shown, [_told(ranked[rank[_lead(by, end.key)]]), _told(place)]


def _places(
    by: Sequence[By], leading: Sequence[By], after: Position | None
) -> tuple[Rank | None, Rank | None]:
    """The key that a page goes on with, and the group of it that it goes on after."""
    if after is None:
        return None, None
    if not isinstance(after, list) or len(after) != 2:
        raise bad_parameter("This is no cursor of this list.", param="cursor")
    return _rank(leading, after[0]), _rank(by, after[1])


def _dear(group: Group) -> tuple[Any, ...]:
    return _order(Rank(group.key, group.used.spent, group.used.requests))


def _order(rank: Rank) -> tuple[Any, ...]:
    return (-rank.spent, -rank.requests, rank.key)


def _newest(
    by: Sequence[By],
    first: date,
    last: date,
    after: Rank | None,
    narrowed: Mapping[str, Any],
    count: int,
) -> list[tuple[Rank, Group]]:
    found: list[tuple[Rank, Group]] = []
    end = last if after is None else min(last, after.key[by.index(By.DAY)])
    # Without keys a range has few groups, however long it is.
    spans = _spans(first, end) if By.KEY in by else [(first, end)] if first <= end else []
    for since, until in spans:
        rest = count - len(found)
        if rest <= 0:
            break
        found += _ranked(by, since, until, after, narrowed, rest)
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
    after: Rank | None,
    narrowed: Mapping[str, Any],
    count: int,
) -> list[tuple[Rank, Group]]:
    """Groups with their ranks, in this order."""
    ranked = summaries.dearest(
        by=by,
        first=first,
        last=last,
        count=count,
        after=after,
        newest_first=By.DAY in by,
        **narrowed,
    )
    keys = [rank.key for rank in ranked]
    sums = {group.key: group for group in _sums(by, by, keys, first, last, narrowed)}
    return [(rank, sums[rank.key]) for rank in ranked if rank.key in sums]


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
