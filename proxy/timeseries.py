"""Usage as the facts of a chart: one value per day and line. The table beside it is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final
from zlib import crc32

from django.utils.functional import Promise
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import breakdowns
from billing.breakdowns import LINES_DRAWN, Breakdown
from billing.summaries import Used
from common import money

NANOS: Final = 10**9
# Colours of assets/app.css: one for each line that is drawn apart, the last for what is left over.
INKS: Final = LINES_DRAWN
LAST_INK: Final = INKS + 1


@dataclass(frozen=True, slots=True)
class Measure:
    """What a chart can show of usage."""

    name: str
    title: str | Promise
    unit: str
    of: Callable[[Used], int | None]

    def pixels(self, value: int | None) -> int | float | None:
        """The value as a script draws it: a pixel needs no exact number, the table has it."""
        return value / NANOS if value is not None and self.unit == "usd" else value


def tokens(used: Used) -> int:
    """All tokens, in and out."""
    return used.input_tokens + used.cached_tokens + used.cache_write_tokens + used.output_tokens


MEASURES: Final = {
    measure.name: measure
    for measure in (
        Measure("cost", gettext_lazy("Spend"), "usd", lambda used: used.spent),
        Measure("requests", gettext_lazy("Requests"), "count", lambda used: used.requests),
        Measure("tokens", gettext_lazy("Tokens"), "count", tokens),
        Measure("latency", gettext_lazy("Mean latency"), "ms", lambda used: used.mean_latency_ms),
    )
}


@dataclass(frozen=True, slots=True)
class Row:
    """One day of a chart's table: exact values in the unit of the chart, nanos where it is usd."""

    day: date
    values: Sequence[int | None]


@dataclass(frozen=True, slots=True)
class Series:
    """
    A chart: its name for who does not see it, what the script draws, and the same elsewhere.

    ``labels`` are the columns of the table, each with the number of its colour.
    """

    name: str
    title: str
    unit: str
    facts: Mapping[str, Any]
    labels: Sequence[tuple[str, int]]
    rows: Sequence[Row]
    digits: int
    query: str
    groups: str

    @property
    def element(self) -> str:
        """The id of the element with the facts."""
        return f"chart-{self.name}"


def series(*, breakdown: Breakdown, measure: Measure) -> Series:
    """Draw the dearest lines apart and the others as one; a mean is never stacked."""
    shown = _drawn(breakdown, measure)
    table = [[_value(each.days.get(day), measure) for each in shown] for day in breakdown.days]
    inks = _inks(each.name for each in shown)
    labels = [(each.label, inks[each.name]) for each in shown]
    drawn = [
        {"label": label, "ink": ink, "values": [measure.pixels(row[at]) for row in table]}
        for at, (label, ink) in enumerate(labels)
    ]
    facts = {
        "kind": "lines" if measure.name == "latency" else "bars",
        "unit": measure.unit,
        "day": _("Day (UTC)"),
        "usd": _("$%(number)s"),
        "ms": _("%(number)s ms"),
        "days": [_moment(day) for day in breakdown.days],
        "series": drawn,
    }
    asked = {"since": breakdown.days[0].isoformat(), "until": breakdown.days[-1].isoformat()}
    return Series(
        name=measure.name,
        title=_("%(measure)s by day; the table below says the same") % {"measure": measure.title},
        unit=measure.unit,
        facts=facts,
        labels=labels,
        rows=[Row(*each) for each in zip(breakdown.days, table, strict=True)],
        digits=money.decimals(value or 0 for row in table for value in row),
        query=urlencode(asked),
        groups=breakdown.by,
    )


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is drawn in one colour: the name that it follows is empty for what is left over."""

    label: str
    name: str
    days: Mapping[date, Used]


def _drawn(breakdown: Breakdown, measure: Measure) -> list[Drawn]:
    if breakdown.by == "day":
        return [Drawn(str(measure.title), "day", breakdown.daily)]
    first = [
        Drawn(line.label, line.public_id or line.label, line.days)
        for line in breakdown.lines[:LINES_DRAWN]
    ]
    if len(breakdown.lines) <= LINES_DRAWN and breakdown.others is None:
        return first
    return [*first, Drawn(_("others"), "", _others(breakdown))]


def _inks(names: Iterable[str]) -> dict[str, int]:
    """
    The colour of each name: its own on every page and day, whatever its rank.

    Where two of a chart want the same, the first by the alphabet has it and the other the next.
    """
    found: dict[str, int] = {}
    for name in sorted(set(names)):
        wanted = crc32(name.encode()) % INKS
        ring = [(wanted + step) % INKS + 1 for step in range(INKS)]
        taken = found.values()
        free = (ink for ink in ring if ink not in taken)
        found[name] = next(free, LAST_INK) if name else LAST_INK
    return found


def _others(breakdown: Breakdown) -> dict[date, Used]:
    drawn = [line.days for line in breakdown.lines[:LINES_DRAWN]]
    return {
        day: breakdowns.without(used, (days[day] for days in drawn if day in days))
        for day, used in breakdown.daily.items()
    }


def _value(used: Used | None, measure: Measure) -> int | None:
    if used is None:
        return None if measure.name == "latency" else 0
    return measure.of(used)


def _moment(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
