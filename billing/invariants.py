"""
What must always be true of the money, asked of the rows themselves.

Each of the eleven invariants has a number, the name of what is checked here, and queries
that return one row (workspace id or null, what is wrong) per violation. Some invariants
need more than the database, e.g. the providers' own logs; what the rows can say about
them is checked, and the name says what that is.

By default a replay starts at the newest ledger checkpoint and usage is looked at from the
day before yesterday on; `full` looks at everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction

from billing import partitions, violations
from billing.models import Hold, LedgerCheckpoint, Usage

# Called after each scheduled check with how many invariants were violated.
on_checked: Final[list[Callable[[int], None]]] = []
RECENT: Final = timedelta(days=2)
# A transfer may be booked a little later than the month of its usage record.
RETENTION_MARGIN: Final = timedelta(days=7)
MOST_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Invariant:
    """One of the eleven, under the name of what is checked here."""

    id: int
    name: str
    queries: tuple[str, ...]


INVARIANTS: Final = (
    Invariant(
        1,
        "debits equal credits per asset; no transfer is malformed, no conversion is half",
        (violations.UNBALANCED, violations.MALFORMED, violations.CONVERSIONS),
    ),
    Invariant(
        2,
        "each counter is the sum of its transfers, each pending sum that of its holds",
        (violations.COUNTERS, violations.PENDING, violations.HELD, violations.DEBTS),
    ),
    Invariant(3, "no balance is below its floor", (violations.BELOW_FLOOR,)),
    Invariant(
        4,
        "windows in force, against which caps are checked, equal usage and holds",
        (violations.WINDOWS,),
    ),
    Invariant(
        5,
        "each charged call has an attempt, none two that won (rows only; the"
        " providers' own logs are compared elsewhere)",
        (violations.UNPROVEN,),
    ),
    Invariant(
        6, "each attempt belongs to an admitted request (rows only)", (violations.UNADMITTED,)
    ),
    Invariant(
        7,
        "each settlement is whole: usage record, corrections and transfers agree",
        (violations.HALF_BOOKED, violations.REVISED),
    ),
    Invariant(8, "no hold is open and closed, none was closed twice", (violations.TWICE,)),
    Invariant(9, "no hold is overdue for the sweep by three minutes", (violations.OVERDUE,)),
    Invariant(
        10,
        "each charge follows from its counts and price version; checkpoints equal"
        " a replay (with --full)",
        (violations.MISPRICED, violations.REPLAYED),
    ),
    Invariant(11, "granted balances equal their lots", (violations.LOTS,)),
)
# A violation of these says that a balance itself may be wrong.
FREEZING: Final = frozenset({1, 2, 3, 7, 8, 10, 11})


@dataclass(frozen=True, slots=True)
class Finding:
    """How many rows violate one invariant, and the first of them."""

    id: int
    name: str
    violations: int
    examples: tuple[str, ...]
    workspaces: frozenset[int]


@dataclass(frozen=True, slots=True)
class Report:
    """The state of all invariants at one time."""

    checked_at: datetime
    holds_pending: int
    unknown_calls: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is violated."""
        return not any(finding.violations for finding in self.findings)

    @property
    def doubted(self) -> frozenset[int]:
        """The workspaces whose balance may be wrong."""
        named = [finding.workspaces for finding in self.findings if finding.id in FREEZING]
        return frozenset().union(*named)

    def summary(self) -> dict[str, Any]:
        """The report as the command prints it."""
        return {
            "ok": self.ok,
            "checked_at": self.checked_at.isoformat(),
            "holds_pending": self.holds_pending,
            "unknown_calls": self.unknown_calls,
            "invariants": [
                {"id": each.id, "name": each.name, "violations": each.violations}
                | ({"examples": list(each.examples)} if each.violations else {})
                for each in self.findings
            ],
        }


def check(*, full: bool = False, now: datetime | None = None) -> Report:
    """Ask every invariant; each query is a statement of its own, so none sees a half commit."""
    now = now or datetime.now(UTC)
    bounds = _bounds(full=full, now=now)
    with patience():
        return Report(
            checked_at=now,
            holds_pending=Hold.objects.count(),
            unknown_calls=Usage.objects.filter(unknown=True).count(),
            findings=tuple(_ask(invariant, bounds) for invariant in INVARIANTS),
        )


def _bounds(*, full: bool, now: datetime) -> dict[str, Any]:
    newest = LedgerCheckpoint.objects.order_by("-through").values_list("through", flat=True).first()
    first_month = partitions.first_month(table="billing_usage")
    today = now.astimezone(UTC).date()
    return {
        "full": full,
        "newest": newest or 0,
        "through": 0 if full else newest or 0,
        "since": first_month or date.min if full else today - RECENT,
        "month": partitions.month_start(today),
        "retained": (first_month or today) + RETENTION_MARGIN,
    }


def _ask(invariant: Invariant, bounds: dict[str, Any]) -> Finding:
    rows: list[tuple[int | None, str]] = []
    with connection.cursor() as cursor:
        for query in invariant.queries:
            cursor.execute(query, bounds)
            rows += cursor.fetchall()
    return Finding(
        id=invariant.id,
        name=invariant.name,
        violations=len(rows),
        examples=tuple(text for _, text in rows[:MOST_SHOWN]),
        workspaces=frozenset(workspace for workspace, _ in rows if workspace is not None),
    )


@contextmanager
def patience() -> Iterator[None]:
    """Let long statements finish: a replay of millions of transfers takes its time."""
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('statement_timeout')")
        before = cursor.fetchone()[0]
        cursor.execute("select set_config('statement_timeout', '1h', false)")
        try:
            yield
        finally:
            cursor.execute("select set_config('statement_timeout', %s, false)", [before])


@transaction.atomic
def make_checkpoint(*, before: datetime) -> int:
    """
    Sum every account's transfers booked before a time; return the last transfer included.

    The time has to lie far enough back that no transaction with an older transfer is open.
    """
    with patience(), connection.cursor() as cursor:
        cursor.execute("select coalesce(max(id), 0) from billing_transfer where at < %s", [before])
        through = int(cursor.fetchone()[0])
        cursor.execute(
            violations.MAKE_CHECKPOINT, {"until": through, "through": _newest_before(through)}
        )
    return through


def _newest_before(through: int) -> int:
    rows = LedgerCheckpoint.objects.filter(through__lt=through).order_by("-through")
    return rows.values_list("through", flat=True).first() or 0
