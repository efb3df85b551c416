"""
Sums of usage per hour and per day (``sql/rollups.sql`` says how they stay exact).

A roll-up costs what was written since the last one, whatever the table holds. Readers are
in ``billing.summaries``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from django.db import connection, transaction

from billing import partitions
from billing.invariants import patience


@dataclass(frozen=True, slots=True)
class Report:
    """What one roll-up did: ``counted`` records, unless somebody else was at it."""

    counted: int = 0
    busy: bool = False
    rebuilt: bool = False


def roll_up() -> Report:
    """Bring the sums up to date; where a restored dump left foreign stamps, sum all again."""
    counted = _call("select billing_roll_up()")
    if counted is None:
        return Report(busy=True)
    if counted < 0:
        return rebuild()
    return Report(counted=counted)


def rebuild() -> Report:
    """Sum again all usage that is kept; sums of months that were dropped stay as they are."""
    oldest = partitions.first_month(table="billing_usage") or date.min
    counted = _call("select billing_rebuild_rollups(%s)", oldest)
    return Report(counted=counted or 0, rebuilt=True)


@transaction.atomic
def _call(statement: str, *parameters: date) -> int | None:
    with patience(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        counted: int | None = cursor.fetchone()[0]
    return counted
