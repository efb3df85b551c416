"""Whether the books are right: the invariants with their history, and what others' books say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from django.db.models import Count, Max

from accounts.models import Approval
from billing import suspense
from billing.invariants import INVARIANTS
from billing.models import Account, Alert, Claim, Deposit, Revision, StripeEntry, Usage
from proxy import status
from proxy.models import ProviderReport, TaskHeartbeat

MOST_SHOWN: Final = 50
REPORT_DAYS: Final = 35


@dataclass(frozen=True, slots=True)
class Line:
    """One invariant: whether it is violated now, and what is known of earlier times."""

    id: int
    name: str
    violated: bool
    times: int
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that says whether the books are right."""

    balanced_at: datetime | None
    lines: Sequence[Line]
    history: Sequence[Alert]
    reports: Sequence[ProviderReport]
    unmatched: Sequence[StripeEntry]
    tasks: Sequence[TaskHeartbeat]
    suspended: int
    unknown: int
    corrected: int


def read(*, today: date) -> Books:
    """Read them; nothing is checked anew."""
    found = Alert.objects.filter(workspace=None, kind=Alert.Kind.LEDGER_VIOLATION)
    reports = ProviderReport.objects.filter(day__gte=today - timedelta(days=REPORT_DAYS))
    tasks = list(TaskHeartbeat.objects.order_by("name"))
    return Books(
        balanced_at=next((task.at for task in tasks if task.name == status.BOOKS), None),
        lines=_lines(),
        history=list(found.order_by("-id")[:MOST_SHOWN]),
        reports=list(
            reports.exclude(status=ProviderReport.Status.OK)
            .select_related("provider")
            .order_by("-day")[:MOST_SHOWN]
        ),
        unmatched=list(StripeEntry.objects.filter(matched=False).order_by("-at")[:MOST_SHOWN]),
        tasks=tasks,
        suspended=suspense.waiting().count(),
        unknown=Usage.objects.filter(unknown=True).count(),
        corrected=Revision.objects.count(),
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for somebody of the staff: how much of it, and the list that has it."""

    name: str
    count: int
    page: str
    query: str = ""


def waiting() -> list[Waiting]:
    """Everything that nobody but a person can end; nothing that is none."""
    incidents = Alert.objects.filter(workspace=None, closed_at=None)
    frozen = Account.objects.filter(frozen=True, workspace__closed_at=None)
    asked = Approval.objects.filter(state=Approval.State.PENDING)
    held = Deposit.objects.filter(state=Deposit.State.SUSPENDED)
    found = [
        Waiting("Approvals to decide", asked.count(), "accounts_approval", "state__exact=pending"),
        Waiting(
            "Open incidents",
            incidents.count(),
            "billing_alert",
            "workspace__isempty=1&closed_at__isnull=True",
        ),
        Waiting("Unknown calls", Usage.objects.filter(unknown=True).count(), "proxy_unknowncall"),
        Waiting("Suspended payments", suspense.waiting().count(), "billing_suspended"),
        Waiting(
            "Open claims",
            Claim.objects.filter(status=Claim.Status.OPEN).count(),
            "billing_claim",
            "status__exact=open",
        ),
        Waiting("Held deposits", held.count(), "billing_deposit", "state__exact=suspended"),
        Waiting(
            "Frozen customers",
            frozen.values("workspace").distinct().count(),
            "billing_customer",
            "frozen=yes",
        ),
    ]
    return [each for each in found if each.count]


def _lines() -> list[Line]:
    rows = Alert.objects.filter(workspace=None, kind=Alert.Kind.LEDGER_VIOLATION).order_by()
    known = {
        subject: (times, last)
        for subject, times, last in rows.values_list("subject").annotate(
            Count("id"), Max("created_at")
        )
    }
    now = set(rows.filter(closed_at=None).values_list("subject", flat=True))
    lines = []
    for invariant in INVARIANTS:
        subject = f"invariant:{invariant.id}"
        times, last = known.get(subject, (0, None))
        lines.append(Line(invariant.id, invariant.name, subject in now, times, last))
    return lines
