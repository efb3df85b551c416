from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core import mail
from django.db import connection, connections
from pytest_django import Settings

from accounts.models import Membership
from billing import grants, invariants, ledger, partitions, tasks
from billing.models import Alert, LedgerCheckpoint, Transfer
from tests import pages
from tests.billing.bank import admit, customer, verdicts

pytestmark = pytest.mark.django_db


class TestVerifyLedger:
    def test_a_sound_ledger_freezes_nobody(self) -> None:
        one = customer(usd=1000)
        tasks.verify_ledger()
        assert verdicts(admit(one.ask(1))) == ["ok"]

    def test_a_violation_freezes_its_workspace_and_no_other(self) -> None:
        one, other = customer(usd=1000), customer(usd=1000)
        with connection.cursor() as cursor:
            cursor.execute(
                "update billing_account set credits_posted = 5000 where id = %s", [one.usd]
            )
        tasks.verify_ledger()
        assert verdicts(admit(one.ask(1), other.ask(1))) == ["frozen", "ok"]
        assert ledger.balance(workspace_id=one.workspace.pk, asset="USD").paid == 5000

    def test_operators_are_told_once_while_it_lasts(self, settings: Settings) -> None:
        settings.OPERATOR_EMAILS = ["ops@example.com"]
        one = customer(usd=1000)
        for credits in (5000, 5000, 1000, 5000):
            with connection.cursor() as cursor:
                cursor.execute(
                    "update billing_account set credits_posted = %s where id = %s",
                    [credits, one.usd],
                )
            tasks.verify_ledger()
            tasks.send_alerts()
        told = [message.subject for message in mail.outbox]
        assert told == ["The ledger violates an invariant"] * 2


class TestExpireGrants:
    def test_it_ends_what_is_over(self) -> None:
        one = customer()
        past = datetime(2020, 1, 1, tzinfo=UTC)
        grants.grant(workspace=one.workspace, asset="USD", amount=5, reason="x", expires_at=past)
        tasks.expire_grants()
        assert one.balance().total == 0


class TestRollUp:
    def test_it_runs(self) -> None:
        customer(usd=1000).use(10)
        tasks.roll_up()
        with connection.cursor() as cursor:
            cursor.execute("select rolled_at is not null from billing_rollupmark")
            assert cursor.fetchone() == (True,)


class TestSendAlerts:
    def test_a_cap_that_is_used_up_is_told_once(self) -> None:
        user = pages.person("alice")
        one = customer(usd=10**6)
        Membership.objects.create(workspace=one.workspace, user=user, role="owner")
        one.caps(ws_day=1000)
        one.use(1000)
        mail.outbox.clear()
        tasks.send_alerts()
        tasks.send_alerts()
        assert [message.to for message in mail.outbox] == [["alice@example.com"]]


class TestMakeLedgerCheckpoint:
    def test_what_is_recent_is_left_out(self) -> None:
        customer(usd=1000)
        tasks.make_ledger_checkpoint()
        assert LedgerCheckpoint.objects.count() == 0


@pytest.mark.django_db(transaction=True)
class TestTwiceAtOnce:
    """Beat may start a task twice; workers may run both at once."""

    @staticmethod
    def at_once(task: Callable[[], None]) -> None:
        gate = threading.Barrier(4)

        def run(_: int) -> None:
            try:
                gate.wait()
                task()
            finally:
                connections["default"].close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, range(4)))

    def test_checkpoints(self) -> None:
        for _ in range(3):
            customer(usd=1000).use(10)
        later = datetime.now(UTC) + timedelta(hours=1)
        self.at_once(lambda: none(invariants.make_checkpoint(before=later)))
        assert LedgerCheckpoint.objects.values("through").distinct().count() == 1
        report = invariants.check(full=True)
        assert [each.id for each in report.findings if each.violations] == [5, 10]
        assert not any("checkpoint" in text for each in report.findings for text in each.examples)

    def test_verification_tells_and_freezes_once(self) -> None:
        one = customer(usd=1000)
        with connection.cursor() as cursor:
            cursor.execute(
                "update billing_account set credits_posted = 5000 where id = %s", [one.usd]
            )
        self.at_once(tasks.verify_ledger)
        assert one.home().frozen
        assert Alert.objects.filter(kind="ledger.violation").count() == 1

    def test_sums(self) -> None:
        one = customer(usd=1000)
        one.use(10)
        deadline = time.monotonic() + 120
        # A transaction open in any database of the server holds a roll-up back.
        while self.sums() == (None, None) and time.monotonic() < deadline:
            self.at_once(tasks.roll_up)
        self.at_once(tasks.roll_up)
        assert self.sums() == (10, 1)

    @staticmethod
    def sums() -> tuple[int | None, ...]:
        with connection.cursor() as cursor:
            cursor.execute("select sum(spent), sum(requests) from billing_usageday")
            row: tuple[int | None, ...] = cursor.fetchone()
        return row

    def test_expiry_of_grants(self) -> None:
        one = customer()
        past = datetime(2020, 1, 1, tzinfo=UTC)
        grants.grant(workspace=one.workspace, asset="USD", amount=5, reason="x", expires_at=past)
        self.at_once(tasks.expire_grants)
        assert one.balance().total == 0
        assert Transfer.objects.filter(debit__workspace=one.workspace).count() == 1

    def test_partitions(self) -> None:
        self.at_once(tasks.make_partitions)
        far, tables = date(2043, 12, 15), ["billing_usage"]
        self.at_once(
            lambda: none(partitions.make_months(tables=tables, today=far, behind=0, ahead=1))
        )
        try:
            assert partitions.missing_months(tables=tables, today=far, ahead=1) == []
        finally:
            with connection.cursor() as cursor:
                cursor.execute("drop table if exists billing_usage_2043_12, billing_usage_2044_01")


def none(_: object) -> None:
    """Drop an answer."""
