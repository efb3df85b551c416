"""What a correction leaves for those who read: lots, the audit log, sums and statements."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.models import AuditEvent
from billing import grants, invariants, revisions, rollups, statement, summaries
from billing.models import Lot, Revision
from billing.summaries import By
from common import ids
from common.pagination import Wanted
from tests.billing.bank import Customer, bill, customer, settle

pytestmark = pytest.mark.django_db


def guess(one: Customer, cost: int, *, want: int = 500) -> tuple[UUID, str]:
    hold_id, day = one.hold(want)
    settle(bill(hold_id, cost, day=day, source="checkpoint", reason="swept"))
    return UUID(hold_id), day


def prove(call: tuple[UUID, str], cost: int) -> str:
    item = bill(str(call[0]), cost, day=call[1], reason="")
    return revisions.revise(call_id=call[0], bill=json.dumps(item).encode()).v


def violated() -> list[int]:
    """Return what is violated but what asks for attempts and prices."""
    findings = invariants.check(full=True).findings
    return [each.id for each in findings if each.violations and each.id not in (5, 10)]


class TestRevise:
    def test_granted_money_comes_back_as_a_lot_that_lasts_as_long(self) -> None:
        one = customer(usd=1000)
        end = timezone.now() + timedelta(days=9)
        for days in (0, -3):
            grants.grant(
                workspace=one.workspace,
                asset="USD",
                amount=200,
                reason="gift",
                expires_at=end + timedelta(days=days),
            )
        call = guess(one, 450)

        assert prove(call, 120) == "corrected"

        lot = Lot.objects.get(source=call[0])
        assert (lot.amount, lot.expires_at) == (280, end)
        assert (one.balance().paid, one.balance().granted) == (1000, 280)
        # What was spent until then is written on the lots that it was taken from.
        assert [each.consumed for each in Lot.objects.order_by("id")] == [200, 200, 0]
        assert violated() == []

    def test_it_is_done_once_and_written_into_the_audit_log(self) -> None:
        one = customer(granted=1000)
        call = guess(one, 450)
        assert [prove(call, 120) for _ in range(2)] == ["corrected", "already"]
        [event] = AuditEvent.objects.filter(action="call.corrected", workspace=one.workspace)
        assert event.target == ids.form("req_", call[0])
        assert event.before == {"source": "checkpoint", "charged": "450", "cost_usd": "0.00000045"}
        assert event.after == {"source": "provider", "charged": "120", "cost_usd": "0.00000012"}
        assert Lot.objects.filter(source=call[0]).count() == 1
        assert Revision.objects.get(pk=call[0]).old_charged == 450
        assert violated() == []

    def test_a_conflict_writes_nothing(self) -> None:
        one = customer(granted=1000)
        call = guess(one, 450)
        prove(call, 120)
        assert prove(call, 121) == "conflict"
        assert AuditEvent.objects.filter(action="call.corrected").count() == 2

    def test_sums_and_the_statement_have_the_price_that_stands(self) -> None:
        one = customer(usd=1000)
        before, after = guess(one, 300), guess(one, 300)
        prove(before, 120)
        rollups.roll_up()
        prove(after, 120)
        today = timezone.now().date()
        [group] = summaries.used(
            by=[By.WORKSPACE], first=today, last=today, workspace_id=one.workspace.pk
        )
        assert (group.used.requests, group.used.charged, group.used.cost) == (2, 240, 240)
        wanted = Wanted(limit=10, after=None)
        page = statement.read(
            workspace=one.workspace, asset="USD", wanted=wanted, now=timezone.now()
        )
        assert [(line.kind, line.amount, line.balance) for line in page.rows] == [
            ("usage", -240, 760),
            ("credit", 1000, 1000),
        ]
