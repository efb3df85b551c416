"""What pages read about money and usage; nothing here writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Self

from billing import ledger, summaries
from billing.ledger import Balance
from billing.models import Account, KeyMeter
from billing.summaries import By

USD = "USD"
TOK = "TOK"
DAYS_SHOWN = 30
LOW_BALANCE_NANOS = 10**9


@dataclass(frozen=True, slots=True)
class Cap:
    """How much of a spending limit is used; no limit at all is None."""

    used: int
    limit: int | None

    @property
    def percent(self) -> int:
        """The used part in hundredths of the limit, at most 100."""
        if self.limit is None:
            return 0
        return min(100, self.used * 100 // self.limit) if self.limit else 100

    @property
    def reached(self) -> bool:
        """Whether nothing more can be spent under it."""
        return self.limit is not None and self.used >= self.limit


@dataclass(frozen=True, slots=True)
class Window:
    """Today's and this month's caps of a workspace or a key."""

    day: Cap
    month: Cap

    @classmethod
    def of(cls, row: Account | KeyMeter | None, *, today: date) -> Self:
        """Read a row as of today: a window that was last written on another day begins anew."""
        if row is None:
            return cls(day=Cap(0, None), month=Cap(0, None))
        same_month = (row.day.year, row.day.month) == (today.year, today.month)
        return cls(
            day=Cap(row.day_used if row.day == today else 0, row.day_cap),
            month=Cap(row.month_used if same_month else 0, row.month_cap),
        )


@dataclass(frozen=True, slots=True)
class Spend:
    """What was spent, in nano-dollars, in a number of requests."""

    spent: int = 0
    requests: int = 0
    errors: int = 0

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            self.spent + other.spent, self.requests + other.requests, self.errors + other.errors
        )

    @property
    def error_rate(self) -> float:
        """The share of requests that failed, between 0 and 1."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class DaySpend(Spend):
    """What was spent on one day, by the clock of Greenwich."""

    day: date = date.min


@dataclass(frozen=True, slots=True)
class Sums:
    """The figures at the top of the Overview."""

    usd: Balance
    tokens: Balance
    day_cap: Cap
    month_cap: Cap
    frozen: bool
    days: list[DaySpend]
    month: Spend

    @property
    def today(self) -> Spend:
        """The day that is running."""
        return self.days[-1]

    @property
    def week(self) -> Spend:
        """Today and the six days before."""
        return sum(self.days[-7:], Spend())

    @property
    def thirty_days(self) -> Spend:
        """Today and the 29 days before."""
        return sum(self.days, Spend())

    def banners(self) -> list[str]:
        """What the reader has to know before anything else, by name."""
        funded = self.usd.available > 0 or self.tokens.available > 0
        low = not self.tokens.available and self.usd.available < LOW_BALANCE_NANOS
        named = {
            "frozen": self.frozen,
            "day_cap": self.day_cap.reached,
            "month_cap": self.month_cap.reached,
            "empty_balance": not funded,
            "low_balance": funded and low,
        }
        return [name for name, shown in named.items() if shown]


def sums(*, workspace_id: int, now: datetime) -> Sums:
    """Balance, caps and spend of one workspace."""
    today = now.date()
    home = Account.objects.filter(workspace_id=workspace_id, kind="paid", asset=USD).first()
    window = Window.of(home, today=today)
    first = min(today - timedelta(days=DAYS_SHOWN - 1), today.replace(day=1))
    spent = _spend_by_day(workspace_id=workspace_id, first=first, last=today)
    days = [today - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1)]
    return Sums(
        usd=ledger.balance(workspace_id=workspace_id, asset=USD),
        tokens=ledger.balance(workspace_id=workspace_id, asset=TOK),
        day_cap=window.day,
        month_cap=window.month,
        frozen=bool(home and home.frozen),
        days=[spent.get(day, DaySpend(day=day)) for day in days],
        month=sum((day for day in spent.values() if day.day >= today.replace(day=1)), Spend()),
    )


def _spend_by_day(*, workspace_id: int, first: date, last: date) -> dict[date, DaySpend]:
    groups = summaries.used(by=[By.DAY], workspace_id=workspace_id, first=first, last=last)
    return {
        group.key[0]: DaySpend(
            group.used.spent, group.used.requests, group.used.errors, group.key[0]
        )
        for group in groups
    }
