"""What was used, day by day and parted by model, key or workspace, as pages and files show it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

from accounts.models import ApiKey, Workspace
from billing import summaries
from billing.summaries import By, Used
from common import money

PARTS: Final = {"model": By.MODEL, "key": By.KEY, "workspace": By.WORKSPACE, "day": By.DAY}
GROUPS: Final = tuple(PARTS)
KEYS_SHOWN: Final = 25
# Of keys only these lines are parted by day.
LINES_DRAWN: Final = 6
TOP_SHOWN: Final = 5
NAMES: Final = tuple(field.name for field in fields(Used))


@dataclass(frozen=True, slots=True)
class Line:
    """One model, key, workspace or day, what was used of or on it, and on which days."""

    label: str
    public_id: str
    used: Used
    days: Mapping[date, Used]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """
    A range of days, the dearest line first (days: the newest first), and their sum.

    ``others`` is what lines that are not shown sum up to; None where all are shown.
    """

    by: str
    days: Sequence[date]
    lines: Sequence[Line]
    total: Used
    daily: Mapping[date, Used]
    others: Used | None = None

    @property
    def digits(self) -> int:
        """The decimals of the column of what was spent."""
        rest = [] if self.others is None else [self.others.spent]
        return max(digits(self.lines), money.decimals([self.total.spent, *rest]))


def digits(lines: Iterable[Line]) -> int:
    """How many decimals write exactly what each of some lines spent."""
    return money.decimals(line.used.spent for line in lines)


def read(*, workspaces: Sequence[Workspace], by: str, first: date, last: date) -> Breakdown:
    """
    Part what workspaces used in a range of days; all but the first count for "workspace" only.

    Of keys the dearest are shown: there may be ten thousand.

    :raises ValueError: by something that is no group
    """
    places = _places(workspaces, by)
    groups = summaries.used(by=[By.DAY], first=first, last=last, workspace_id=places)
    daily = {group.key[0]: group.used for group in groups}
    total = added(daily.values())
    lines, others = _days(daily), None
    if by == "key":
        lines, whole = _keys(places, first, last)
        others = None if whole else without(total, (line.used for line in lines))
    elif by != "day":
        cells = _cells(places, by, first, last)
        lines = _lines(cells, _names(by, workspaces, cells))
    days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    return Breakdown(by=by, days=days, lines=lines, total=total, daily=daily, others=others)


def sums(*, workspaces: Sequence[Workspace], by: str, first: date, last: date) -> list[Line]:
    """
    Every line of the same, without its days: what a file has.

    :raises ValueError: by something that is no group
    """
    places = _places(workspaces, by)
    groups = summaries.used(by=[PARTS[by]], first=first, last=last, workspace_id=places)
    if by == "day":
        return _days({group.key[0]: group.used for group in groups})
    cells = [(group.key[0], first, group.used) for group in groups]
    return _lines(cells, _names(by, workspaces, cells))


def daily(
    *, workspaces: Sequence[Workspace], by: str, first: date, last: date
) -> list[tuple[date, Line]]:
    """
    Every line of every day, the newest day first: what the file of a chart has.

    :raises ValueError: by something that is no group
    """
    places = _places(workspaces, by)
    if by == "day":
        lines = sums(workspaces=workspaces, by=by, first=first, last=last)
        return [(day, line) for line in lines for day in line.days]
    cells = _cells(places, by, first, last)
    names = _names(by, workspaces, cells)
    found = [
        (day, Line(*names.get(of, (str(of), "")), used, {day: used})) for of, day, used in cells
    ]
    return sorted(found, key=lambda row: (-row[0].toordinal(), *_dear(row[1].used), row[1].label))


def top(
    *, workspace: Workspace, by: str, first: date, last: date, count: int = TOP_SHOWN
) -> list[Line]:
    """
    The dearest few lines, without their days.

    :raises ValueError: by something that is no group
    """
    places = _places([workspace], by)
    part = PARTS[by]
    dearest = summaries.dearest(by=[part], count=count, first=first, last=last, workspace_id=places)
    if not dearest:
        return []
    read = partial(summaries.used, by=[part], first=first, last=last, workspace_id=places)
    only: dict[str, Any] = {str(part): sorted(rank.key[0] for rank in dearest)}
    groups = read(**only)
    cells = [(group.key[0], first, group.used) for group in groups]
    return _lines(cells, _names(by, [workspace], cells))


def added(rows: Iterable[Used]) -> Used:
    """Add sums up."""
    columns = zip(*([getattr(row, name) for name in NAMES] for row in rows), strict=True)
    return Used(*(sum(column) for column in columns))


def without(whole: Used, parts: Iterable[Used]) -> Used:
    """What is left of a sum without some of its parts."""
    gone = added(parts)
    return Used(*(getattr(whole, name) - getattr(gone, name) for name in NAMES))


Cell = tuple[str | int, date, Used]


def _places(workspaces: Sequence[Workspace], by: str) -> list[int]:
    if by not in GROUPS:
        raise ValueError(f"Usage is shown by {', '.join(GROUPS)}.")
    return [place.pk for place in (workspaces if by == "workspace" else workspaces[:1])]


def _cells(places: list[int], by: str, first: date, last: date) -> list[Cell]:
    """What was used on each day by each line."""
    groups = summaries.used(by=[PARTS[by], By.DAY], first=first, last=last, workspace_id=places)
    return [(group.key[0], group.key[1], group.used) for group in groups]


def _keys(places: list[int], first: date, last: date) -> tuple[list[Line], bool]:
    """
    The dearest keys, and whether those are all.

    Days are read of those few that a chart draws: ten thousand keys have very many.
    """
    read = partial(summaries.used, first=first, last=last, workspace_id=places)
    dearest = summaries.dearest(
        by=[By.KEY], count=KEYS_SHOWN + 1, first=first, last=last, workspace_id=places
    )
    shown = sorted(rank.key[0] for rank in dearest[:KEYS_SHOWN])
    cells = [(group.key[0], first, group.used) for group in read(by=[By.KEY], key_id=shown)]
    names = _names("key", [], cells)
    cells.sort(key=lambda cell: (*_dear(cell[2]), names[cell[0]][0]))
    drawn = sorted(int(key) for key, _, _ in cells[:LINES_DRAWN])
    days: defaultdict[Any, dict[date, Used]] = defaultdict(dict)
    for group in read(by=[By.KEY, By.DAY], key_id=drawn):
        days[group.key[0]][group.key[1]] = group.used
    lines = [Line(*names[key], used, days[key]) for key, _, used in cells]
    return lines, len(dearest) <= KEYS_SHOWN


def _dear(used: Used) -> tuple[int, int]:
    return -used.spent, -used.requests


def _summed(cells: Iterable[tuple[date, Used]]) -> dict[date, Used]:
    parted: defaultdict[date, list[Used]] = defaultdict(list)
    for day, used in cells:
        parted[day].append(used)
    return {day: added(parts) for day, parts in parted.items()}


def _names(
    by: str, workspaces: Sequence[Workspace], cells: Sequence[Cell]
) -> Mapping[str | int, tuple[str, str]]:
    """The label and public id of each line; a model is its own."""
    if by == "workspace":
        return {place.pk: (place.name, place.public_id) for place in workspaces}
    if by == "key":
        rows = ApiKey.objects.filter(pk__in={cell[0] for cell in cells})
        return {row.pk: (row.name, row.public_id) for row in rows.only("name", "public_id")}
    return {}


def _lines(cells: Sequence[Cell], names: Mapping[str | int, tuple[str, str]]) -> list[Line]:
    parted: defaultdict[str | int, list[tuple[date, Used]]] = defaultdict(list)
    for of, day, used in cells:
        parted[of].append((day, used))
    lines = [
        Line(*names.get(of, (str(of), "")), added(used for _, used in parts), _summed(parts))
        for of, parts in parted.items()
    ]
    return sorted(lines, key=lambda line: (*_dear(line.used), line.label))


def _days(daily: Mapping[date, Used]) -> list[Line]:
    newest_first = sorted(daily.items(), reverse=True)
    return [Line(day.isoformat(), "", used, {day: used}) for day, used in newest_first]
