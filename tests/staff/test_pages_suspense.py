from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from accounts import approvals
from accounts.actors import Staff
from accounts.models import Approval, AuditEvent
from billing import invariants, ledger, topups
from billing.models import Account, Alert, Suspended, Transfer
from common import ids
from tests import staffing
from tests.billing.bank import Customer, customer
from tests.pages import Inline
from tests.staff.desk import clerk, desk, open_form, take

pytestmark = pytest.mark.django_db

USD = 10**9


@pytest.fixture
def one() -> Customer:
    return customer(usd=0)


@pytest.fixture
def staff() -> Client:
    return desk(clerk("billing.view_suspended", "accounts.resolve_calls"))


def lose(usd: int = 30, asset: str = "USD") -> Suspended:
    """Money that nobody asked for."""
    topups.suspend(
        source=ids.source("stripe", "pi_lost"), house="clearing:stripe", asset=asset,
        amount=usd * USD, reference="pi_lost", why="amount 3000",
    )  # fmt: skip
    return Suspended.objects.get(kind="suspense")


def url(step: str, row: Suspended) -> str:
    return reverse(f"admin:billing_suspended_{step}", args=[row.pk])


def paid(one: Customer) -> int:
    return ledger.balance(workspace_id=one.workspace.pk, asset="USD").paid


def suspended() -> int:
    """What the account holds, by its transfers."""
    account = Account.objects.get(kind="suspense", asset="USD", workspace=None)
    came = sum(row.amount for row in Transfer.objects.filter(credit=account))
    return int(came - sum(row.amount for row in Transfer.objects.filter(debit=account)))


class TestCredit:
    def test_it_is_credited_once_and_on_the_list_no_more(
        self, one: Customer, staff: Client
    ) -> None:
        row = lose()
        lists = reverse("admin:billing_suspended_changelist")
        page = staff.get(lists).content.decode()
        assert "30.00 USD" in page
        assert Inline(page).found == []
        form = open_form(staff, url("credit", row))
        form |= {"workspace": one.workspace.public_id, "reason": "Ada wrote to us"}
        for _ in range(2):
            staff.post(url("credit", row), form)
        assert paid(one) == 30 * USD
        assert suspended() == 0
        assert "0 suspended payments" in staff.get(lists).content.decode()
        assert not Alert.objects.filter(kind="payment.unmatched", closed_at=None).exists()
        assert AuditEvent.objects.filter(action="suspense.credited").count() == 2
        assert invariants.check().ok

    def test_a_large_one_takes_two(self, one: Customer, staff: Client) -> None:
        row = lose(usd=5000)
        take(staff, url("credit", row), workspace=one.workspace.public_id)
        [asked] = Approval.objects.all()
        assert asked.summary.endswith(f"to {one.workspace.name} ({one.workspace.public_id})")
        assert paid(one) == 0
        other = staffing.member("bert@example.com", superuser=True)
        approvals.approve(approval=asked, by=Staff(other))
        assert paid(one) == 5000 * USD

    def test_what_was_given_back_meanwhile_is_not_credited(
        self, one: Customer, staff: Client
    ) -> None:
        row = lose(usd=5000)
        take(staff, url("credit", row), workspace=one.workspace.public_id)
        take(staff, url("give_back", row))
        [asked] = Approval.objects.all()
        other = staffing.member("bert@example.com", superuser=True)
        with pytest.raises(Exception, match="credited or given back already"):
            approvals.approve(approval=asked, by=Staff(other))
        assert (paid(one), suspended()) == (0, 0)

    def test_asked_for_twice_it_is_credited_once_and_the_second_says_so(
        self, one: Customer, staff: Client
    ) -> None:
        row = lose(usd=5000)
        for _ in range(2):
            take(staff, url("credit", row), workspace=one.workspace.public_id)
        first, second = Approval.objects.order_by("pk")
        other = Staff(staffing.member("bert@example.com", superuser=True))
        approvals.approve(approval=first, by=other)
        with pytest.raises(Exception, match="refuse what still asks for it"):
            approvals.approve(approval=second, by=other)
        assert (paid(one), suspended()) == (5000 * USD, 0)

    def test_the_customers_page_says_why(self, one: Customer, staff: Client) -> None:
        take(staff, url("credit", lose()), workspace=one.workspace.public_id, reason="Bank letter")
        boss = desk(clerk(superuser=True, name="boss"))
        address = reverse("admin:billing_customer_change", args=[one.workspace.pk])
        changes = boss.get(address).content.decode().partition("Last changes")[2]
        assert "suspense.credited" in changes
        assert "Bank letter" in changes

    def test_to_nobody_it_goes_not(self, staff: Client) -> None:
        page = take(staff, url("credit", lose()), workspace="ws_nobody")
        assert page.status_code == 422
        assert suspended() == 30 * USD


class TestGiveBack:
    def test_it_goes_back_to_where_it_came_from(self, staff: Client) -> None:
        row = lose()
        take(staff, url("give_back", row), reason="Paid back at Stripe")
        assert suspended() == 0
        back = Transfer.objects.get(kind="suspense.resolved")
        assert back.credit_id == row.debit_id
        assert AuditEvent.objects.filter(action="suspense.given_back").count() == 1
        assert invariants.check().ok


class TestPermissions:
    @pytest.mark.parametrize("step", ["credit", "give_back"])
    def test_who_may_look_may_not_decide(self, step: str) -> None:
        looker = desk(clerk("billing.view_suspended", name="looker"))
        assert looker.post(url(step, lose()), {"reason": "Mine"}).status_code == 403
