"""What hands that shake, or that mean harm, send to the staff: a sentence, and no change."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection, connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import approvals
from accounts.actors import Staff
from accounts.models import Approval, AuditEvent, Impersonation, User
from billing import ledger, orders
from billing.admin_customers import CorrectionForm, GrantForm, LimitsForm
from billing.adminsteps import Step, StepForm, Stepping, nothing
from billing.models import Customer, StaffStep, Transfer
from tests import staffing
from tests.billing import bank
from tests.billing.bank import customer
from tests.pages import Inline, person
from tests.staff import rows
from tests.staff.desk import desk, open_form, take

USD = 10**9
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>"
REASONS = {
    "none": "",
    "spaces": "   ",
    "a megabyte": "x" * 1024 * 1024,
    "a NUL": "because\x00of",
}
AMOUNTS = (
    "", "0", "-1", "NaN", "-NaN", "Infinity", "1e400", "1e12", "0.0000000001", "1,000", "1.2.3",
    "0x10", "9" * 39, "--5", HTML, "1\x00", "1" * 1_000_000,
)  # fmt: skip


def offered() -> Iterator[tuple[Stepping, Step, Any]]:
    """Every step that can be taken with a row that there is."""
    for page in admin.site._registry.values():
        for step in getattr(page, "steps", ()):
            assert isinstance(page, Stepping)
            found = page.get_queryset(None)  # type: ignore[arg-type]  # none of ours looks at it
            row = next((each for each in found[:20] if not step.refusal(each)), None)
            if row is not None:
                yield page, step, row


def left() -> tuple[int, ...]:
    """How much of everything that a step would leave behind there is."""
    kinds = (AuditEvent, StaffStep, Transfer, Approval, Impersonation)
    return tuple(kind._default_manager.count() for kind in kinds)


@pytest.mark.django_db
class TestEveryStep:
    def test_a_bad_reason_a_made_up_token_and_an_older_version_change_nothing(self) -> None:
        staff = desk(rows.fill())
        before, names = left(), set()
        for page, step, row in offered():
            url = page.step_url(step, row)
            names.add(f"{page.opts.model_name} {step.name}")
            form = open_form(staff, url)
            wrong = {"reason": "  ", "token": HTML, "version": "x" * 65}
            self.refused(staff, url, form | wrong, errors=3)
            self.refused(staff, url, form | {"reason": "x" * 501, "version": "older"}, errors=1)
            if step.facts is not nothing:
                self.refused(staff, url, form | {"reason": "A good one", "version": "older"})
        assert left() == before
        assert len(names) > 18, names

    def refused(self, staff: Client, url: str, form: dict[str, str], *, errors: int = 1) -> None:
        answer = staff.post(url, form)
        shown = answer.content.decode()
        assert answer.status_code == 422, url
        assert shown.count('class="errorlist') >= errors, url
        assert "<script>alert" not in shown
        assert Inline(shown).found == []

    def test_no_reason_is_too_odd_to_be_refused(self) -> None:
        one = customer(usd=0)
        staff = desk(staffing.member("boss@example.com", superuser=True))
        form = open_form(staff, where(one, "freeze"))
        for reason in REASONS.values():
            self.refused(staff, where(one, "freeze"), form | {"reason": reason})
        assert staff.get("/admin/billing/customer/nothing/freeze/").status_code == 302
        assert not AuditEvent.objects.filter(action__startswith="workspace.f").exists()

    def test_html_in_a_reason_is_text_wherever_it_is_read(self) -> None:
        one, boss = customer(usd=20 * USD), staffing.member("boss@example.com", superuser=True)
        staff = desk(boss)
        take(staff, where(one, "freeze"), reason=HTML)
        take(staff, where(one, "grant"), asset="USD", amount="1", reason=HTML)
        pages = [f"/admin/billing/customer/{one.workspace.pk}/change/"]
        pages += [f"/admin/billing/customer/{one.workspace.pk}/ledger/"]
        pages += ["/admin/accounts/auditevent/", "/admin/billing/lot/", "/admin/"]
        for page in pages:
            shown = staff.get(page).content.decode()
            assert "<script>alert" not in shown
            assert Inline(shown).found == [], page


def where(one: bank.Customer, step: str) -> str:
    return reverse(f"admin:billing_customer_{step}", args=[one.workspace.pk])


@pytest.mark.django_db
class TestAmounts:
    @pytest.mark.parametrize("form", [GrantForm, CorrectionForm, LimitsForm])
    def test_what_is_no_amount_is_refused_in_words(self, form: type[StepForm]) -> None:
        row = Customer.objects.get(pk=customer(usd=20 * USD).workspace.pk)
        hidden = {"token": str(uuid.uuid4()), "version": "v", "reason": "A good one"}
        taken = {
            amount
            for asset in ledger.ASSETS
            for amount in AMOUNTS
            if form(
                hidden | {"asset": asset, "amount": amount, "daily": amount}, row=row
            ).is_valid()
        }
        fine = {GrantForm: set(), CorrectionForm: {"-1"}, LimitsForm: {"", "0"}}
        assert taken == fine[form]

    def test_more_than_anybody_means_is_asked_about(self) -> None:
        one = customer(usd=0)
        staff = desk(staffing.member("boss@example.com", superuser=True))
        for asset, amount in (("USD", "1000000.01"), ("TOK", "400000001"), ("TOK", "9" * 20)):
            page = take(staff, where(one, "grant"), asset=asset, amount=amount)
            assert "At most 1,000,000.00 USD" in page.content.decode()
        assert take(staff, where(one, "grant"), asset="USD", amount="1000000").status_code == 200
        assert Approval.objects.count() == 1

    def test_a_correction_takes_no_more_than_there_is(self) -> None:
        one = customer(usd=5 * USD, granted=90 * USD)
        staff = desk(staffing.member("boss@example.com", superuser=True))
        page = take(staff, where(one, "correct"), asset="USD", amount="-5.000000001")
        assert page.status_code == 422
        assert one.balance().paid == 5 * USD


@pytest.mark.django_db
class TestApprovals:
    @pytest.fixture
    def asked(self) -> Approval:
        self.one = customer(usd=0)
        self.anna = staffing.member("anna@example.com", group="billing")
        self.bert = staffing.member("bert@example.com", group="billing")
        made = orders.grant(
            workspace=self.one.workspace, asset="USD", amount=500 * USD, reason="They waited",
            by=Staff(self.anna), source=uuid.uuid4(), expires_at=timezone.now() + timedelta(days=1),
        )  # fmt: skip
        assert made.approval is not None
        return made.approval

    def decide(self, user: User, asked: Approval, what: str = "approve", note: str = "") -> str:
        url = reverse(f"admin:accounts_approval_{what}", args=[asked.pk])
        answer = desk(user).post(url, {"note": note}, follow=True)
        assert answer.status_code == 200
        return str(answer.content.decode())

    @pytest.mark.parametrize("note", ["x" * 501, "x" * 1024 * 1024, "a\x00b"])
    @pytest.mark.parametrize("what", ["approve", "refuse"])
    def test_a_note_that_cannot_be_kept_decides_nothing(
        self, asked: Approval, what: str, note: str
    ) -> None:
        assert "Nothing was decided" in self.decide(self.bert, asked, what, note)
        asked.refresh_from_db()
        assert (asked.state, self.one.balance().total) == ("pending", 0)

    def test_html_in_a_note_is_text(self, asked: Approval) -> None:
        page = self.decide(self.bert, asked, note=HTML)
        assert "<script>alert" not in page
        assert Inline(page).found == []

    def test_whoever_asked_decides_nothing(self, asked: Approval) -> None:
        assert "somebody else decides" in self.decide(self.anna, asked)
        assert self.one.balance().total == 0

    def test_twice_approved_is_done_once(self, asked: Approval) -> None:
        assert "Approved" in self.decide(self.bert, asked)
        assert "changed" in self.decide(self.bert, asked)
        assert self.one.balance().total == 500 * USD

    def test_what_was_asked_and_cannot_be_done_any_more_is_told(self, asked: Approval) -> None:
        self.one.workspace.closed_at = timezone.now()
        self.one.workspace.save()
        assert 'class="error"' in self.decide(self.bert, asked)
        asked.refresh_from_db()
        assert (asked.state, self.one.balance().total) == ("pending", 0)

    def test_a_grant_whose_time_is_over_when_it_is_approved_is_told(self, asked: Approval) -> None:
        with connection.cursor() as cursor:
            # What was asked never changes; time goes by.
            cursor.execute("set local session_replication_role = replica")
            Approval.objects.update(payload=asked.payload | {"expires_at": "2026-01-01T00:00:00Z"})
            cursor.execute("set local session_replication_role = origin")
        assert "would have expired" in self.decide(self.bert, asked)
        asked.refresh_from_db()
        assert asked.state == "pending"


@pytest.mark.django_db
class TestImpersonation:
    @pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
    def test_a_bad_reason_begins_nothing(self, reason: str) -> None:
        ada = person("ada")
        staff = desk(staffing.member("boss@example.com", superuser=True))
        url = reverse("admin:accounts_user_impersonate", args=[ada.pk])
        answer = staff.post(url, {"reason": reason})
        assert "errorlist" in answer.content.decode()
        assert not Impersonation.objects.exists()

    def test_somebody_who_does_not_exist_is_not_found(self) -> None:
        staff = desk(staffing.member("boss@example.com", superuser=True))
        for number in ("0", "x", "9" * 30):
            assert staff.get(f"/admin/accounts/user/{number}/impersonate/").status_code == 404


@pytest.mark.django_db(transaction=True)
class TestTwoTabs:
    def test_a_form_that_is_sent_from_many_tabs_at_once_is_taken_once(self) -> None:
        one = customer(usd=0)
        boss = staffing.member("boss@example.com", superuser=True)
        clients = [desk(boss) for _ in range(4)]
        form = open_form(clients[0], where(one, "grant"))
        form |= {"asset": "USD", "amount": "3", "reason": "Sent in a hurry"}

        def send(client: Client) -> int:
            try:
                return client.post(where(one, "grant"), form).status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(send, clients)) == {302}
        assert one.balance().granted == 3 * USD

    def test_two_people_who_decide_at_once_do_it_once(self) -> None:
        one = customer(usd=0)
        people = [staffing.member(f"{name}@example.com", group="billing") for name in "abc"]
        asked = orders.grant(
            workspace=one.workspace, asset="USD", amount=500 * USD, reason="They waited",
            by=Staff(people[0]), source=uuid.uuid4(),
        ).approval  # fmt: skip
        assert asked is not None
        url = reverse("admin:accounts_approval_approve", args=[asked.pk])
        clients = [desk(each) for each in people]

        def decide(client: Client) -> int:
            try:
                return client.post(url, {"note": ""}).status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(3) as pool:
            assert set(pool.map(decide, clients)) == {302}
        assert one.balance().granted == 500 * USD
        asked.refresh_from_db()
        assert asked.approver in people[1:]
        assert (
            approvals.decided_alone(person=people[1], workspace=one.workspace, now=timezone.now())
            == 0
        )
