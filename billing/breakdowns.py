"""What was used, day by day and parted by model, key or workspace, as pages and files show it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Final

from accounts.models import ApiKey, Workspace
from billing import summaries
from billing.summaries import By, Used

GROUPS: Final = ("model", "key", "workspace", "day")
NAMES: Final = tuple(field.name for field in fields(Used))


@dataclass(frozen=True, slots=True)
class Line:
    """One model, key, workspace or day, and what was used of or on it."""

    label: str
    public_id: str
    used: Used
    days: Mapping[date, Used]


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A range of days, the dearest line first (days: the newest first), and their sum."""

    by: str
    days: Sequence[date]
    lines: Sequence[Line]
    total: Used
    daily: Mapping[date, Used]


def read(*, workspaces: Sequence[Workspace], by: str, first: date, last: date) -> Breakdown:
    """
    Part what workspaces used in a range of days; all but the first count for "workspace" only.

    :raises ValueError: by something that is no group
    """
    if by not in GROUPS:
        raise ValueError(f"Usage is shown by {', '.join(GROUPS)}.")
    cells = _workspace_cells if by == "workspace" else _cells
    found = cells(workspaces, by, first, last)
    daily = _summed((day, used) for _, day, used in found)
    lines = _days(daily) if by == "day" else _lines(found, _names(by, workspaces, found))
    days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    return Breakdown(by=by, days=days, lines=lines, total=added(daily.values()), daily=daily)


def added(rows: Iterable[Used]) -> Used:
    """Add sums up."""
    columns = zip(*([getattr(row, name) for name in NAMES] for row in rows), strict=True)
    return Used(*(sum(column) for column in columns))


Cell = tuple[str | int, date, Used]


def _cells(workspaces: Sequence[Workspace], by: str, first: date, last: date) -> list[Cell]:
    keys = [By.DAY] if by == "day" else [By.DAY, By.KEY if by == "key" else By.MODEL]
    place = workspaces[0].pk
    groups = summaries.used(by=keys, first=first, last=last, workspace_id=place)
    return [(group.key[-1] if len(keys) > 1 else "", group.key[0], group.used) for group in groups]


def _workspace_cells(
    workspaces: Sequence[Workspace], by: str, first: date, last: date
) -> list[Cell]:
    return [
        (place.pk, group.key[0], group.used)
        for place in workspaces
        for group in summaries.used(by=[By.DAY], first=first, last=last, workspace_id=place.pk)
    ]


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
    return sorted(lines, key=lambda line: (-line.used.spent, -line.used.requests, line.label))


def _days(daily: Mapping[date, Used]) -> list[Line]:
    newest_first = sorted(daily.items(), reverse=True)
    return [Line(day.isoformat(), "", used, {day: used}) for day, used in newest_first]
