"""The ledger as people read it: every line, and a balance that agrees with the account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.utils import timezone

from accounts.models import User, Workspace
from billing import grants, ledger, partitions, statement
from billing.models import Account
from billing.statement import Line
from common.pagination import Wanted
from tests import pages

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def home(alice: User) -> Workspace:
    partitions.make_months(tables=["billing_usage", "billing_usageday"], behind=8, ahead=0)
    home = pages.home(alice)
    Workspace.objects.filter(pk=home.pk).update(created_at=timezone.now() - timedelta(days=300))
    home.refresh_from_db()
    return home


def pay(home: Workspace, amount: int) -> None:
    grants.grant(workspace=home, asset="USD", amount=amount, reason="paid", paid=True)


def spend(alice: User, home: Workspace, amount: int, *, days_ago: int = 0) -> None:
    """A call of some day, in the records and on the account."""
    when = timezone.now() - timedelta(days=days_ago)
    key = pages.make_key(alice, home)
    pages.closed_request(
        key, home, charged=amount, cost=amount, hold=amount, day=when.date(), created_at=when
    )
    account = Account.objects.get(pk=ledger.open_accounts(workspace_id=home.pk).usd_id)
    Account.objects.filter(pk=account.pk).update(debits_posted=account.debits_posted + amount)


def lines(home: Workspace, *, limit: int) -> list[Line]:
    """All lines, read page by page."""
    found: list[Line] = []
    wanted = Wanted(limit=limit)
    while True:
        page = statement.read(workspace=home, asset="USD", wanted=wanted, now=timezone.now())
        found += page.rows
        if page.next is None:
            return found
        wanted = Wanted(limit=limit, after=page.next)


class TestRead:
    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_each_balance_is_the_one_before_and_the_amount(
        self, alice: User, home: Workspace, limit: int
    ) -> None:
        pay(home, 10_000)
        for days_ago, amount in ((0, 7), (0, 5), (1, 11), (40, 100), (200, 1000)):
            spend(alice, home, amount, days_ago=days_ago)
        pay(home, 3)
        found = lines(home, limit=limit)

        assert found[0].balance == 10_003 - 1123
        for newer, older in pairwise(found):
            assert older.balance == newer.balance - newer.amount
        assert found[-1].balance == found[-1].amount
        assert [line.kind for line in found] == [
            *("usage", "credit", "credit", "usage", "usage", "usage"),
        ]
        assert [line.requests for line in found if line.requests] == [2, 1, 1, 1]

    def test_a_workspace_without_money_has_no_lines(self, home: Workspace) -> None:
        assert lines(home, limit=5) == []

    def test_granted_money_is_in_it_too(self, home: Workspace) -> None:
        grants.grant(workspace=home, asset="USD", amount=5, reason="gift")
        pay(home, 2)

        assert [(line.kind, line.amount, line.balance) for line in lines(home, limit=5)] == [
            ("credit", 2, 7),
            ("grant", 5, 5),
        ]

    def test_no_line_is_of_the_future(self, alice: User, home: Workspace) -> None:
        pay(home, 100)
        spend(alice, home, 1)

        assert max(line.at for line in lines(home, limit=5)) <= datetime.now(UTC)
