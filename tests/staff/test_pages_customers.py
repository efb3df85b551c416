from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Approval, AuditEvent, User
from billing import invariants, ledger, limits
from billing.models import Account, StaffStep
from tests.billing.bank import Customer, customer
from tests.pages import Inline
from tests.staff.desk import clerk, desk, open_form, take

pytestmark = pytest.mark.django_db

USD = 10**9


@pytest.fixture
def one() -> Customer:
    return customer(usd=20 * USD, granted=5 * USD)


@pytest.fixture
def boss() -> User:
    return clerk(superuser=True, name="boss")


@pytest.fixture
def staff(boss: User) -> Client:
    return desk(boss)


def url(one: Customer, name: str) -> str:
    return reverse(f"admin:billing_customer_{name}", args=[one.workspace.pk])


def balance(one: Customer) -> ledger.Balance:
    return ledger.balance(workspace_id=one.workspace.pk, asset="USD")


def event(action: str) -> AuditEvent:
    return AuditEvent.objects.filter(action=action).latest("id")


class TestCustomerPage:
    def test_it_shows_balances_limits_and_the_start_of_keys(
        self, one: Customer, staff: Client
    ) -> None:
        one.use(USD)
        one.hold(2 * USD)
        page = staff.get(url(one, "change")).content.decode()
        assert "20.000000" in page
        assert "4.000000" in page
        assert "2.000000" in page
        assert one.key.hint in page
        assert Inline(page).found == []

    def test_the_list_has_balances_and_finds_the_frozen(self, one: Customer, staff: Client) -> None:
        other = customer(usd=3 * USD)
        ledger.freeze(workspace_id=other.workspace.pk)
        lists = reverse("admin:billing_customer_changelist")
        everybody = staff.get(lists).content.decode()
        assert "20.00" in everybody
        assert one.workspace.public_id in everybody
        frozen = staff.get(lists, {"frozen": "yes"}).content.decode()
        assert other.workspace.public_id in frozen
        assert one.workspace.public_id not in frozen

    def test_its_ledger_has_the_balance_after_each_line(self, one: Customer, staff: Client) -> None:
        take(staff, url(one, "correct"), asset="USD", amount="-1.25", reason="Booked twice")
        page = staff.get(url(one, "ledger")).content.decode()
        assert "-1.250000" in page
        assert "23.750000" in page
        assert "Booked twice" in page
        assert Inline(page).found == []
        calls = staff.get(url(one, "ledger"), {"only": "calls"}).content.decode()
        assert "Booked twice" not in calls


class TestFreeze:
    def test_a_frozen_customer_s_calls_are_refused(self, one: Customer, staff: Client) -> None:
        take(staff, url(one, "freeze"), reason="Odd traffic")
        assert Account.objects.get(pk=one.usd).frozen
        written = event("workspace.frozen")
        assert (written.before, written.after) == (
            {"frozen": False, "reason": None},
            {"frozen": True, "reason": "Odd traffic"},
        )
        assert written.user is not None
        assert written.user.email == "boss@example.com"
        theirs = AuditEvent.objects.get(action="workspace.frozen", workspace=one.workspace)
        assert theirs.after == {"frozen": True}
        assert "Odd traffic" in staff.get(url(one, "change")).content.decode()

    def test_and_admitted_again(self, one: Customer, staff: Client) -> None:
        take(staff, url(one, "freeze"))
        take(staff, url(one, "unfreeze"), reason="It was a launch")
        assert not Account.objects.get(pk=one.usd).frozen
        assert event("workspace.unfrozen").after == {"frozen": False, "reason": "It was a launch"}

    def test_no_reason_no_freeze(self, one: Customer, staff: Client) -> None:
        page = take(staff, url(one, "freeze"), reason=" ")
        assert page.status_code == 422
        assert not Account.objects.get(pk=one.usd).frozen

    def test_what_changed_meanwhile_is_not_frozen_unseen(
        self, one: Customer, staff: Client
    ) -> None:
        form = open_form(staff, url(one, "freeze"))
        ledger.freeze(workspace_id=one.workspace.pk)
        page = staff.post(url(one, "freeze"), form | {"reason": "Odd traffic"})
        assert page.status_code == 422
        assert "frozen already" in page.content.decode()
        assert not AuditEvent.objects.filter(action="workspace.frozen").exists()


class TestLimits:
    def test_they_hold_with_a_reason(self, one: Customer, staff: Client) -> None:
        take(staff, url(one, "limits"), daily="7.50", monthly="", reason="Agreed by phone")
        assert limits.workspace_caps(workspace=one.workspace) == (7_500_000_000, None)
        after = event("limits.changed").after
        assert after is not None
        assert after["daily_usd"] == "7.50"
        assert after["reason"] == "Agreed by phone"

    def test_a_change_of_an_older_version_is_refused(self, one: Customer, staff: Client) -> None:
        form = open_form(staff, url(one, "limits"))
        limits.set_workspace_caps(workspace=one.workspace, daily=1, monthly=1, by=None)
        answers: dict[str, Any] = {"daily": "7", "monthly": "", "reason": "Agreed by phone"}
        page = staff.post(url(one, "limits"), form | answers)
        assert page.status_code == 422
        assert "changed since you read it" in page.content.decode()
        assert limits.workspace_caps(workspace=one.workspace) == (1, 1)


class TestMoney:
    def test_a_grant_is_given_once_however_often_it_is_sent(
        self, one: Customer, staff: Client
    ) -> None:
        form = open_form(staff, url(one, "grant"))
        form |= {"asset": "USD", "amount": "3.5", "expires_at": "", "reason": "An outage"}
        first = staff.post(url(one, "grant"), form, follow=True)
        again = staff.post(url(one, "grant"), form, follow=True)
        assert "3.50 USD were given" in first.content.decode()
        assert "done already" in again.content.decode()
        assert balance(one).granted == 8_500_000_000
        assert event("money.granted").after == {
            "asset": "USD", "units": "3500000000", "reason": "An outage",
        }  # fmt: skip
        assert StaffStep.objects.count() == 1
        assert invariants.check().ok

    def test_above_the_limit_a_second_person_approves(self, one: Customer, staff: Client) -> None:
        page = take(staff, url(one, "grant"), asset="USD", amount="5000", reason="An outage")
        [asked] = Approval.objects.all()
        assert asked.public_id in page.content.decode()
        assert asked.state == "pending"
        assert balance(one).granted == 5 * USD

    def test_whoever_approves_reads_whose_it_is_and_until_when(
        self, one: Customer, staff: Client
    ) -> None:
        until = {"expires_at": "2090-01-31 12:00"}
        take(staff, url(one, "grant"), asset="USD", amount="5000", reason="An outage", **until)
        take(staff, url(one, "correct"), asset="USD", amount="5000", reason="An outage")
        given, corrected = Approval.objects.order_by("pk").values_list("summary", flat=True)
        assert one.workspace.public_id in given
        assert given.endswith("until 2090-01-31 12:00 UTC")
        assert one.workspace.public_id in corrected

    def test_tokens_are_whole(self, one: Customer, staff: Client) -> None:
        page = take(staff, url(one, "grant"), asset="TOK", amount="1.5")
        assert "no whole number" in page.content.decode()
        take(staff, url(one, "grant"), asset="TOK", amount="15", paid="on")
        assert ledger.balance(workspace_id=one.workspace.pk, asset="TOK").paid == 15

    @pytest.mark.parametrize("amount", ["0", "-1", "nan", "1e400", "0.0000000001", ""])
    def test_nothing_is_no_grant(self, one: Customer, staff: Client, amount: str) -> None:
        page = take(staff, url(one, "grant"), asset="USD", amount=amount)
        assert page.status_code == 422
        assert balance(one).granted == 5 * USD

    def test_a_correction_takes_only_what_nothing_holds(self, one: Customer, staff: Client) -> None:
        one.hold(7 * USD)
        page = take(staff, url(one, "correct"), asset="USD", amount="-19")
        assert page.status_code == 422
        assert not StaffStep.objects.exists()
        take(staff, url(one, "correct"), asset="USD", amount="-18", reason="Booked twice")
        assert balance(one).paid == 2 * USD
        written = event("money.corrected")
        assert written.before is not None
        assert written.after is not None
        assert (written.before["paid"], written.after["paid"]) == ("20000000000", "2000000000")
        assert written.after["reason"] == "Booked twice"
        assert invariants.check().ok


class TestPermissions:
    @pytest.mark.parametrize("step", ["freeze", "unfreeze", "limits", "grant", "correct"])
    def test_who_may_look_may_not_act(self, one: Customer, step: str) -> None:
        looker = desk(clerk("billing.view_customer"))
        assert looker.get(url(one, "change")).status_code == 200
        assert looker.get(url(one, "ledger")).status_code == 200
        assert looker.get(url(one, step)).status_code == 403
        assert looker.post(url(one, step), {"reason": "x"}).status_code == 403
        assert f"/{step}/" not in looker.get(url(one, "change")).content.decode()

    def test_who_may_not_look_sees_nothing(self, one: Customer) -> None:
        nobody = desk(clerk("accounts.freeze_workspace"))
        assert nobody.get(url(one, "change")).status_code == 403
        assert nobody.get(url(one, "ledger")).status_code == 403
        assert nobody.get(url(one, "freeze")).status_code == 403

    def test_each_step_needs_its_own_right(self, one: Customer) -> None:
        freezer = desk(clerk("billing.view_customer", "accounts.freeze_workspace"))
        assert freezer.get(url(one, "freeze")).status_code == 200
        assert freezer.get(url(one, "grant")).status_code == 403

    def test_the_row_itself_is_never_changed_here(self, one: Customer, staff: Client) -> None:
        assert staff.post(url(one, "change"), {"name": "Mine"}).status_code == 403
        assert staff.get(reverse("admin:billing_customer_add")).status_code == 403
