"""
What the house earns: revenue, what providers cost, the margin between, by day and by whom.

All from the sums of usage; failed calls by their reason come from an index that has no others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from django.db import connection

from accounts.models import Workspace
from billing import summaries
from billing.summaries import MEASURES, By, Group, Used

MOST_SHOWN: Final = 20
SHOWN: Final = ("requests", "errors", "unknown", "spent", "uncollected", "upstream_cost")
FAILED: Final = """
select provider, model, reason, count(*) from billing_usage
where day between %(first)s and %(last)s and (status is null or status >= 400)
group by provider, model, reason order by count(*) desc, provider, model, reason limit %(most)s
"""


@dataclass(frozen=True, slots=True)
class Line:
    """Sums under a name; money in nano-dollars."""

    name: str
    used: Used
    link: int | None = None

    @property
    def margin(self) -> int:
        """What is left of the revenue."""
        return self.used.spent - self.used.upstream_cost

    @property
    def margin_share(self) -> float | None:
        """The margin as a share of the revenue; None without revenue."""
        return self.margin / self.used.spent if self.used.spent else None


@dataclass(frozen=True, slots=True)
class Failure:
    """How often calls to a provider's model failed for one reason."""

    provider: str
    model: str
    reason: str
    calls: int


@dataclass(frozen=True, slots=True)
class Earnings:
    """All of some days."""

    first: date
    last: date
    total: Line
    days: Sequence[Line]
    models: Sequence[Line]
    providers: Sequence[Line]
    customers: Sequence[Line]
    failures: Sequence[Failure]


def read(*, first: date, last: date) -> Earnings:
    """Read the days from first to last."""
    by = [By.DAY, By.MODEL, By.PROVIDER]
    groups = summaries.used(by=by, first=first, last=last, measures=SHOWN)
    days = {line.name: line for line in _lines(groups, lambda key: key[0].isoformat())}
    whole = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return Earnings(
        first=first,
        last=last,
        total=Line("", _sum(group.used for group in groups)),
        days=[days.get(str(day)) or Line(str(day), Used()) for day in reversed(whole)],
        models=_dearest(_lines(groups, lambda key: key[1])),
        providers=_dearest(_lines(groups, lambda key: key[2])),
        customers=_customers(first, last),
        failures=_failures(first, last),
    )


def _lines(groups: Iterable[Group], name: Callable[[tuple[Any, ...]], str]) -> list[Line]:
    found: dict[str, list[Used]] = defaultdict(list)
    for group in groups:
        found[name(group.key)].append(group.used)
    return [Line(each, _sum(used)) for each, used in found.items()]


def _sum(found: Iterable[Used]) -> Used:
    rows = [[getattr(used, name) for name in MEASURES] for used in found]
    return Used(*map(sum, zip(*rows, strict=True))) if rows else Used()


def _dearest(lines: list[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (-line.used.spent, line.name))[:MOST_SHOWN]


def _customers(first: date, last: date) -> list[Line]:
    keys = summaries.dearest(by=[By.WORKSPACE], first=first, last=last, count=MOST_SHOWN)
    wanted = [rank.key[0] for rank in keys]
    if not wanted:
        return []
    groups = summaries.used(
        by=[By.WORKSPACE], first=first, last=last, workspace_id=wanted, measures=SHOWN
    )
    used = {group.key[0]: group.used for group in groups}
    names = dict(Workspace.objects.filter(pk__in=wanted).values_list("pk", "name"))
    return [Line(names.get(each, str(each)), used.get(each, Used()), each) for each in wanted]


def _failures(first: date, last: date) -> list[Failure]:
    with connection.cursor() as cursor:
        cursor.execute(FAILED, {"first": first, "last": last, "most": MOST_SHOWN * 2})
        return [Failure(*row) for row in cursor.fetchall()]
