from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection

from billing import grants, ledger, tasks
from billing.models import LedgerCheckpoint
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


class TestExpireGrants:
    def test_it_ends_what_is_over(self) -> None:
        one = customer()
        past = datetime(2020, 1, 1, tzinfo=UTC)
        grants.grant(workspace=one.workspace, asset="USD", amount=5, reason="x", expires_at=past)
        tasks.expire_grants()
        assert one.balance().total == 0


class TestMakeLedgerCheckpoint:
    def test_what_is_recent_is_left_out(self) -> None:
        customer(usd=1000)
        tasks.make_ledger_checkpoint()
        assert LedgerCheckpoint.objects.count() == 0
