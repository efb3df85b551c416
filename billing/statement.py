"""
The ledger of a workspace as people read it: what came and went, and the balance after each.

Calls are one line per UTC day; each single one is in the logs. The lines of one asset, the
newest first, each with the balance after it: it begins with the balance now and is counted
back, so the first line agrees with the balance and the lines with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from accounts.models import Workspace
from billing import summaries
from billing.models import Account, Transfer
from billing.summaries import By
from common.pagination import Page, Position, Wanted

USAGE: Final = "usage"
USAGE_KINDS: Final = "usage."


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the amount has a sign, and is in units of the asset."""

    id: str
    kind: str
    at: datetime
    asset: str
    amount: int
    balance: int
    reason: str = ""
    reference: str = ""
    source: UUID | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a reader has come: lines below (day, usage first, transfer) are still to come."""

    day: date
    usage_told: bool
    before: int | None
    balance: int

    def position(self) -> Position:
        """The mark as JSON can hold it."""
        return [self.day.isoformat(), self.usage_told, self.before, str(self.balance)]


def read(*, workspace: Workspace, asset: str, wanted: Wanted, now: datetime) -> Page:
    """One page of an asset's lines."""
    with snapshot():
        rows = Account.objects.filter(workspace=workspace, asset=asset)
        accounts = list(rows.order_by("id"))
        mark = _mark(accounts, wanted, today=now.date())
        lines = list(_lines(workspace, accounts, asset, mark, wanted.limit + 1, now))
    shown, marks = [line for line, _ in lines], [after for _, after in lines]
    if len(shown) <= wanted.limit:
        return Page(shown)
    return Page(shown[: wanted.limit], marks[wanted.limit - 1].position())


@contextmanager
def snapshot() -> Iterator[None]:
    """Let all reads of a block see the same moment; inside a transaction they see that one's."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("set transaction isolation level repeatable read, read only")
        yield


def _mark(accounts: Sequence[Account], wanted: Wanted, *, today: date) -> Mark:
    if wanted.after is not None:
        day, told, before, balance = wanted.after
        return Mark(date.fromisoformat(day), bool(told), before, int(balance))
    total = sum(row.credits_posted - row.debits_posted for row in accounts)
    # A hold may be of tomorrow by the clock of another machine.
    return Mark(today + timedelta(days=1), usage_told=False, before=None, balance=total)


def _lines(
    workspace: Workspace,
    accounts: Sequence[Account],
    asset: str,
    mark: Mark,
    count: int,
    now: datetime,
) -> Iterator[tuple[Line, Mark]]:
    """The next lines, each with the mark after it."""
    moved = _transfers([row.pk for row in accounts], before=mark.before, count=count)
    oldest = workspace.created_at.astimezone(UTC).date() - timedelta(days=1)
    days = _days(workspace, asset, mark, oldest=oldest, moved=moved, count=count)
    told = 0
    while told < count and (moved or days):
        day = min(moved[0].at.astimezone(UTC).date(), mark.day) if moved else date.min
        if days and days[0][0] >= day:
            line, mark = _usage_line(days.pop(0), asset, mark, now)
        else:
            line, mark = _transfer_line(moved.pop(0), day, accounts, mark)
        told += 1
        yield line, mark


def _transfers(account_ids: Sequence[int], *, before: int | None, count: int) -> list[Transfer]:
    """The newest transfers of some accounts but those of calls, each once."""
    found: dict[int, Transfer] = {}
    for account_id in account_ids:
        for side in ("debit_id", "credit_id"):
            # One index each; together they would be a scan.
            rows = Transfer.objects.filter(**{side: account_id}).exclude(
                kind__startswith=USAGE_KINDS
            )
            if before is not None:
                rows = rows.filter(id__lt=before)
            found |= {row.pk: row for row in rows.order_by("-id")[:count]}
    return sorted(found.values(), key=lambda row: -row.pk)[:count]


Day = tuple[date, int, int]


def _days(
    workspace: Workspace,
    asset: str,
    mark: Mark,
    *,
    oldest: date,
    moved: Sequence[Transfer],
    count: int,
) -> list[Day]:
    """Days with charges from the mark on, at least as many as a page can need."""
    last = mark.day - timedelta(days=1) if mark.usage_told else mark.day
    span = count
    while True:
        first = max(oldest, last - timedelta(days=span))
        groups = summaries.used(
            by=[By.DAY], first=first, last=last, workspace_id=workspace.pk, asset=asset
        )
        found = [(g.key[0], g.used.charged, g.used.requests) for g in groups if g.used.charged]
        if first == oldest or len(found) >= count:
            return sorted(found, reverse=True)
        if len(moved) >= count and moved[-1].at.astimezone(UTC).date() >= first:
            return sorted(found, reverse=True)
        span *= 4


def _usage_line(day: Day, asset: str, mark: Mark, now: datetime) -> tuple[Line, Mark]:
    when, charged, requests = day
    line = Line(
        id=f"{USAGE}_{when.isoformat()}",
        kind=USAGE,
        at=min(now, datetime.combine(when, time.max, tzinfo=UTC)),
        asset=asset,
        amount=-charged,
        balance=mark.balance,
        requests=requests,
    )
    return line, Mark(when, True, mark.before, mark.balance + charged)


def _transfer_line(
    row: Transfer, day: date, accounts: Sequence[Account], mark: Mark
) -> tuple[Line, Mark]:
    own = {account.pk for account in accounts}
    amount = int(row.amount) * ((row.credit_id in own) - (row.debit_id in own))
    line = Line(
        id=f"txn_{row.pk}",
        kind=row.kind,
        at=row.at,
        asset=row.asset,
        amount=amount,
        balance=mark.balance,
        reason=row.reason,
        reference=row.reference,
        source=row.source,
    )
    told = mark.usage_told if day == mark.day else False
    return line, Mark(day, told, row.pk, mark.balance - amount)
