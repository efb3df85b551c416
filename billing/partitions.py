"""
Months of the partitioned tables, made ahead of time.

A month is created as a table of its own and then attached: `CREATE … PARTITION OF` would
stop every settlement behind the first open reader, ATTACH does not, as long as there is
no DEFAULT partition. A missing month would refuse every settlement, so they are made
twelve ahead, and `/readyz` and `doctor` ask `missing_months`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import OperationalError
from psycopg import sql

TABLES = ("billing_usage", "billing_usagehour", "proxy_attempt")
AHEAD = 12
NEEDED_AHEAD = 2
TRIES = 25
LOCK = "select pg_advisory_xact_lock(hashtextextended(%s, 0))"
ATTACHED = "select exists (select from pg_inherits where inhrelid = to_regclass(%s))"


@dataclass(frozen=True, slots=True)
class Month:
    """One partition: a table and the first day of its month."""

    table: str
    first: date

    @property
    def name(self) -> str:
        """The partition's own name."""
        return f"{self.table}_{self.first:%Y_%m}"

    @property
    def end(self) -> date:
        """The first day of the next month."""
        return month_start(self.first, after=1)


def month_start(day: date, *, after: int = 0) -> date:
    """Return the first day of the month that lies `after` months after that of `day`."""
    months = day.year * 12 + day.month - 1 + after
    return date(months // 12, months % 12 + 1, 1)


def make_months(
    *,
    tables: Iterable[str] = TABLES,
    behind: int = 1,
    ahead: int = AHEAD,
    today: date | None = None,
    using: BaseDatabaseWrapper | None = None,
) -> list[str]:
    """Make the missing partitions from `behind` months ago to `ahead` months from now.

    :raises django.db.utils.OperationalError: a table stayed locked by somebody else
    """
    database = using or connection
    made = []
    for month in _missing(database, tables, range(-behind, ahead + 1), today):
        _attach(database, month)
        made.append(month.name)
    return made


def missing_months(
    *, tables: Iterable[str] = TABLES, ahead: int = NEEDED_AHEAD, today: date | None = None
) -> list[str]:
    """Return the partitions of this and the next months that do not exist."""
    return [month.name for month in _missing(connection, tables, range(ahead + 1), today)]


def first_month(*, table: str) -> date | None:
    """Return the first day of a table's oldest partition: what is older was dropped."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select min(right(c.relname, 7)) from pg_inherits i"
            " join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent"
            " where p.relname = %s",
            [table],
        )
        oldest = cursor.fetchone()[0]
    return date.fromisoformat(oldest.replace("_", "-") + "-01") if oldest else None


def _missing(
    database: BaseDatabaseWrapper, tables: Iterable[str], offsets: range, today: date | None
) -> list[Month]:
    start = month_start(today or datetime.now(UTC).date())
    wanted = [
        Month(table, month_start(start, after=offset)) for table in tables for offset in offsets
    ]
    with database.cursor() as cursor:
        cursor.execute(
            "select relname from pg_class where relkind = 'p' and relname = any(%s)",
            [list({month.table for month in wanted})],
        )
        parents = {row[0] for row in cursor.fetchall()}
        cursor.execute(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            " where c.relname = any(%s)",
            [[month.name for month in wanted]],
        )
        present = {row[0] for row in cursor.fetchall()}
    return [m for m in wanted if m.table in parents and m.name not in present]


def _attach(database: BaseDatabaseWrapper, month: Month) -> None:
    for attempt in range(TRIES):
        try:
            with transaction.atomic(using=database.alias), database.cursor() as cursor:
                # Beat may start the task twice: who comes second finds the month attached.
                cursor.execute(LOCK, [f"partition {month.name}"])
                cursor.execute(ATTACHED, [month.name])
                if cursor.fetchone()[0]:
                    return
                cursor.execute("set local lock_timeout = '200ms'")
                for statement in _statements(month):
                    cursor.execute(statement)
        except OperationalError:
            if attempt == TRIES - 1:
                raise
        else:
            return


def _statements(month: Month) -> list[str]:
    names = {
        "parent": sql.Identifier(month.table),
        "child": sql.Identifier(month.name),
        "first": sql.Literal(month.first.isoformat()),
        "end": sql.Literal(month.end.isoformat()),
    }
    return [
        sql.SQL(text).format(**names).as_string(None)
        for text in (
            "create table if not exists {child} (like {parent} including all)",
            "alter table {parent} attach partition {child} for values from ({first}) to ({end})",
        )
    ]
