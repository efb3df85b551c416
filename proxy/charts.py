"""Shapes of charts that the server draws itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from billing.selectors import DaySpend

STEP = 20
GAP = 4
HEIGHT = 100


@dataclass(frozen=True, slots=True)
class Bar:
    """One day as a rectangle; integers, so that no language puts a comma into them."""

    day: date
    spent: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SpendChart:
    """One bar per day, the highest as tall as the chart."""

    days: Sequence[DaySpend]
    bars: Sequence[Bar]
    width: int
    height: int

    @property
    def top(self) -> int:
        """The most that was spent on one day."""
        return max((day.spent for day in self.days), default=0)

    @property
    def first(self) -> date:
        """The oldest day shown."""
        return self.days[0].day

    @property
    def last(self) -> date:
        """The newest day shown."""
        return self.days[-1].day


def spend_chart(*, days: Sequence[DaySpend]) -> SpendChart:
    """Draw the days side by side; a day with any spend is at least one unit tall."""
    top = max((day.spent for day in days), default=0)
    bars = [_bar(day, index=index, top=top) for index, day in enumerate(days) if day.spent]
    return SpendChart(days=days, bars=bars, width=STEP * len(days), height=HEIGHT)


def _bar(day: DaySpend, *, index: int, top: int) -> Bar:
    height = max(1, day.spent * HEIGHT // top)
    return Bar(
        day=day.day,
        spent=day.spent,
        x=index * STEP + GAP // 2,
        y=HEIGHT - height,
        width=STEP - GAP,
        height=height,
    )
