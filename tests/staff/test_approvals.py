from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.mail import EmailMessage
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import approvalmail, approvals, tasks
from accounts.actors import Staff
from accounts.approvals import Order
from accounts.errors import Conflict, Forbidden, Invalid
from accounts.models import Approval, AuditEvent, SoleDecision, User, Workspace
from billing import ledger, orders
from billing.models import Transfer
from common import money
from tests import staffing
from tests.billing.bank import customer

pytestmark = pytest.mark.django_db
USD = money.nanos_from_usd
State = Approval.State


@pytest.fixture
def anna() -> User:
    return staffing.member("anna@example.com", superuser=True)


@pytest.fixture
def bert() -> User:
    return staffing.member("bert@example.com", superuser=True)


@pytest.fixture
def home() -> Workspace:
    return customer(usd=0).workspace


@pytest.fixture
def done() -> Iterator[list[Order]]:
    """What an executor of a kind of its own was told to do."""
    orders_: list[Order] = []

    def execute(order: Order) -> dict[str, Any]:
        if order.payload.get("fail"):
            raise Invalid("It cannot be done.")
        orders_.append(order)
        return {"number": len(orders_)}

    approvals.register(kind="test", execute=execute)
    yield orders_
    del approvals.executors["test"]


def given(workspace: Workspace) -> int:
    return ledger.balance(workspace_id=workspace.pk, asset="USD").granted


def grant(workspace: Workspace, by: User, usd: str, source: uuid.UUID | None = None) -> Any:
    return orders.grant(
        workspace=workspace,
        asset="USD",
        amount=USD(usd),
        reason="They waited",
        by=Staff(by),
        source=source or uuid.uuid4(),
    )


def ask(by: User, **payload: Any) -> Approval:
    return approvals.ask(
        kind="test", payload=payload, summary="Do it", reason="It is time", by=Staff(by)
    )


class TestRegister:
    def test_a_kind_has_one_executor(self, done: list[Order]) -> None:
        with pytest.raises(ValueError, match="has an executor already"):
            approvals.register(kind="test", execute=lambda order: None)


class TestSubmit:
    def test_a_little_is_given_at_once(self, home: Workspace, anna: User) -> None:
        assert grant(home, anna, "100").done
        assert given(home) == USD("100")
        assert not Approval.objects.exists()

    def test_more_than_the_limit_waits_for_a_second_person(
        self, home: Workspace, anna: User, bert: User
    ) -> None:
        asked = grant(home, anna, "100.01").approval
        assert (asked.state, given(home)) == (State.PENDING, 0)
        approvals.approve(approval=asked, by=Staff(bert))
        assert given(home) == USD("100.01")
        assert Transfer.objects.get(kind="grant", source=asked.source).created_by == anna

    def test_small_ones_that_sum_above_the_limit_need_it_too(
        self, home: Workspace, anna: User, bert: User
    ) -> None:
        assert [grant(home, anna, "40").done for _ in range(3)] == [True, True, False]
        assert given(home) == USD("80")
        # Somebody else, and another customer, have sums of their own.
        assert grant(home, bert, "40").done
        other = customer(usd=0).workspace
        assert grant(other, anna, "40").done

    def test_what_is_taken_counts_like_what_is_given(self, home: Workspace, anna: User) -> None:
        assert grant(home, anna, "60").done
        correction = orders.correct(
            workspace=home,
            asset="USD",
            amount=-USD("60"),
            reason="A mistake",
            by=Staff(anna),
            source=uuid.uuid4(),
        )
        assert not correction.done

    def test_tokens_count_with_their_worth(self, home: Workspace, anna: User) -> None:
        def tokens(amount: int) -> bool:
            return orders.grant(
                workspace=home,
                asset="TOK",
                amount=amount,
                reason="They waited",
                by=Staff(anna),
                source=uuid.uuid4(),
            ).done

        assert not tokens(40_001)
        assert tokens(40_000)

    def test_a_day_later_the_sum_begins_anew(self, home: Workspace, anna: User) -> None:
        grant(home, anna, "80")
        now = timezone.now()
        alone = approvals.decided_alone
        assert alone(person=anna, workspace=home, now=now) == USD("80")
        assert alone(person=anna, workspace=home, now=now + timedelta(hours=25)) == 0

    def test_sent_twice_it_is_one(self, home: Workspace, anna: User, bert: User) -> None:
        little, much = uuid.uuid4(), uuid.uuid4()
        assert [grant(home, anna, "30", little).done for _ in range(2)] == [True, True]
        assert given(home) == USD("30")
        first, second = (grant(home, anna, "300", much).approval for _ in range(2))
        assert first == second
        approvals.approve(approval=first, by=Staff(bert))
        assert grant(home, anna, "300", much).approval.state == State.APPROVED
        assert given(home) == USD("330")

    def test_without_a_second_factor_nothing_is_given(self, home: Workspace) -> None:
        carl = staffing.member("carl@example.com", superuser=True, factor=False)
        with pytest.raises(Forbidden):
            grant(home, carl, "1")
        assert given(home) == 0

    def test_the_limit_is_a_setting(
        self, home: Workspace, anna: User, settings: LazySettings
    ) -> None:
        settings.APPROVAL_NANOS = 0
        assert not grant(home, anna, "0.01").done


class TestAsk:
    def test_a_reason_is_required(self, anna: User, done: list[Order]) -> None:
        with pytest.raises(Invalid):
            approvals.ask(kind="test", payload={}, summary="x", reason=" ", by=Staff(anna))

    def test_a_kind_that_nobody_executes_is_not_asked(self, anna: User) -> None:
        with pytest.raises(KeyError):
            approvals.ask(kind="nothing", payload={}, summary="x", reason="y", by=Staff(anna))

    def test_it_is_written_down_for_staff_only(self, anna: User, done: list[Order]) -> None:
        asked = ask(anna)
        event = AuditEvent.objects.get(action="approval.asked", target=asked.public_id)
        assert (event.user, event.actor, event.workspace) == (anna, "staff", None)


class TestApprove:
    def test_the_requester_does_not(self, anna: User, done: list[Order]) -> None:
        asked = ask(anna)
        with pytest.raises(Forbidden, match="somebody else decides"):
            approvals.approve(approval=asked, by=Staff(anna))
        assert done == []

    def test_the_database_refuses_one_person_in_both_roles(
        self, anna: User, done: list[Order]
    ) -> None:
        asked = ask(anna)
        with pytest.raises(IntegrityError, match="takes_two"), transaction.atomic():
            Approval.objects.filter(pk=asked.pk).update(
                state=State.APPROVED, approver=anna, decided_at=timezone.now()
            )

    @pytest.mark.parametrize("lacks", ["right", "factor", "staff", "active"])
    def test_nobody_else_without_right_and_factor_does(
        self, anna: User, done: list[Order], lacks: str
    ) -> None:
        other = staffing.member(
            "c@example.com", superuser=lacks != "right", factor=lacks != "factor"
        )
        other.is_staff, other.is_active = lacks != "staff", lacks != "active"
        other.save()
        with pytest.raises(Forbidden):
            approvals.approve(approval=ask(anna), by=Staff(other))
        assert done == []

    def test_it_runs_once(self, anna: User, bert: User, done: list[Order]) -> None:
        asked = ask(anna)
        decided = approvals.approve(approval=asked, by=Staff(bert), note="Fine")
        for again in (approvals.approve, approvals.refuse):
            with pytest.raises(Conflict):
                again(approval=asked, by=Staff(bert))
        assert [order.source for order in done] == [asked.source]
        assert (decided.outcome, decided.approver, decided.note) == ({"number": 1}, bert, "Fine")
        assert done[0].by == Staff(anna)

    def test_what_cannot_be_done_stays_pending(
        self, anna: User, bert: User, done: list[Order]
    ) -> None:
        asked = ask(anna, fail=True)
        with pytest.raises(Invalid):
            approvals.approve(approval=asked, by=Staff(bert))
        asked.refresh_from_db()
        assert (asked.state, asked.approver) == (State.PENDING, None)
        assert not AuditEvent.objects.filter(action="approval.approved").exists()

    def test_whoever_left_gets_nothing_done(
        self, anna: User, bert: User, done: list[Order]
    ) -> None:
        asked = ask(anna)
        User.objects.filter(pk=anna.pk).update(is_staff=False)
        with pytest.raises(Forbidden, match="no staff any more"):
            approvals.approve(approval=asked, by=Staff(bert))

    def test_it_is_written_down_with_both(self, anna: User, bert: User, done: list[Order]) -> None:
        asked = ask(anna)
        approvals.approve(approval=asked, by=Staff(bert))
        event = AuditEvent.objects.get(action="approval.approved", target=asked.public_id)
        assert (event.user, (event.after or {})["requester"]) == (bert, anna.public_id)


class TestApproveAtOnce:
    @pytest.mark.django_db(transaction=True)
    def test_two_deciders_at_once_do_it_once(self, anna: User, bert: User, home: Workspace) -> None:
        cora = staffing.member("cora@example.com", superuser=True)
        asked = grant(home, anna, "500").approval
        answers: list[str] = []

        def decide(person: User) -> None:
            try:
                approvals.approve(approval=asked, by=Staff(person))
                answers.append("done")
            except Conflict:
                answers.append("decided")
            finally:
                connection.close()

        threads = [threading.Thread(target=decide, args=(each,)) for each in (bert, cora)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(answers) == ["decided", "done"]
        assert given(home) == USD("500")

    @pytest.mark.django_db(transaction=True)
    def test_small_grants_at_once_are_added_up(self, anna: User, home: Workspace) -> None:
        results: list[bool] = []

        def give() -> None:
            try:
                results.append(grant(home, anna, "60").done)
            finally:
                connection.close()

        threads = [threading.Thread(target=give) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(results) == [False, False, False, True]
        assert given(home) == USD("60")


class TestRefuse:
    def test_it_ends_it(self, anna: User, bert: User, done: list[Order]) -> None:
        asked = ask(anna)
        refused = approvals.refuse(approval=asked, by=Staff(bert), note="No")
        assert (refused.state, refused.approver, done) == (State.REFUSED, bert, [])
        with pytest.raises(Conflict):
            approvals.approve(approval=asked, by=Staff(bert))


class TestExpireDue:
    def test_what_nobody_decided_ends(self, anna: User, bert: User, done: list[Order]) -> None:
        asked = ask(anna)
        assert approvals.expire_due(now=timezone.now()) == 0
        assert approvals.expire_due(now=timezone.now() + timedelta(days=4)) == 1
        asked.refresh_from_db()
        assert (asked.state, asked.approver) == (State.EXPIRED, None)
        with pytest.raises(Conflict):
            approvals.approve(approval=asked, by=Staff(bert))

    def test_late_is_too_late_even_before_that_ran(
        self, anna: User, bert: User, done: list[Order], settings: LazySettings
    ) -> None:
        settings.APPROVAL_TTL_H = 0
        with pytest.raises(Conflict):
            approvals.approve(approval=ask(anna), by=Staff(bert))
        assert done == []


class TestDeciders:
    def test_they_are_the_others_with_the_right(
        self, anna: User, bert: User, done: list[Order]
    ) -> None:
        staffing.member("viewer@example.com")
        assert approvals.deciders(approval=ask(anna)) == [bert]


class TestTables:
    @pytest.mark.parametrize(
        "statement",
        [
            "update accounts_approval set payload = '{}'",
            "update accounts_approval set amount_nanos = 1",
            "update accounts_approval set state = 'pending', approver_id = null, decided_at = null",
            "update accounts_approval set outcome = '{}'",
            "delete from accounts_approval",
            "truncate accounts_approval cascade",
            "update accounts_soledecision set amount_nanos = 0",
            "delete from accounts_soledecision",
        ],
    )
    def test_what_was_asked_and_decided_stays(
        self, home: Workspace, anna: User, bert: User, statement: str
    ) -> None:
        grant(home, anna, "10")
        approvals.approve(approval=grant(home, anna, "200").approval, by=Staff(bert))
        with connection.cursor() as cursor:
            cursor.execute("set constraints all immediate")
            with pytest.raises(IntegrityError), transaction.atomic():
                cursor.execute(statement)
        assert SoleDecision.objects.count() == 1


class TestMail:
    def test_the_others_are_told_once_then_the_requester(
        self, anna: User, bert: User, done: list[Order], mailoutbox: list[EmailMessage]
    ) -> None:
        staffing.member("viewer@example.com", group="viewer")
        asked = ask(anna)
        assert [approvalmail.tell(), approvalmail.tell()] == [1, 0]
        [first] = mailoutbox
        assert (first.to, first.subject) == ([bert.email], "To approve: Do it")
        assert f"/admin/accounts/approval/{asked.pk}/change/" in first.body
        approvals.approve(approval=asked, by=Staff(bert), note="Good")
        tasks.tend_staff()
        tasks.tend_staff()
        [_, second] = mailoutbox
        assert (second.to, second.subject) == ([anna.email], "Approved: Do it")
        assert "Good" in second.body

    def test_what_expired_is_told_too(
        self, anna: User, done: list[Order], mailoutbox: list[EmailMessage], settings: LazySettings
    ) -> None:
        settings.APPROVAL_TTL_H = 0
        asked = ask(anna)
        tasks.tend_staff()
        asked.refresh_from_db()
        assert asked.state == State.EXPIRED
        assert ["Expired: Do it"] == [each.subject for each in mailoutbox]


class TestAdmin:
    def test_one_asks_and_another_approves(self, home: Workspace, anna: User, bert: User) -> None:
        asked = grant(home, anna, "500").approval
        page, desk = reverse("admin:accounts_approval_change", args=[asked.pk]), Client()
        url = reverse("admin:accounts_approval_approve", args=[asked.pk])
        staffing.sign_in(desk, anna)
        assert b'data-testid="decide"' not in desk.get(page).content
        desk.post(url)
        assert given(home) == 0
        staffing.sign_in(desk, bert)
        assert b'data-testid="decide"' in desk.get(page).content
        assert desk.get(url).status_code == 405
        for _ in range(2):
            desk.post(url, {"note": "Seen"})
        assert given(home) == USD("500")
        assert b'data-testid="decide"' not in desk.get(page).content

    def test_another_refuses(self, home: Workspace, anna: User, bert: User) -> None:
        asked = grant(home, anna, "500").approval
        desk = staffing.sign_in(Client(), bert)
        desk.post(reverse("admin:accounts_approval_refuse", args=[asked.pk]), {"note": "No"})
        asked.refresh_from_db()
        assert (asked.state, asked.note, given(home)) == (State.REFUSED, "No", 0)

    @pytest.mark.parametrize("group", ["viewer", "support", "catalogue"])
    def test_it_takes_the_right(self, home: Workspace, anna: User, group: str) -> None:
        asked = grant(home, anna, "500").approval
        desk = staffing.sign_in(Client(), staffing.member("x@example.com", group=group))
        for name in ("approve", "refuse"):
            url = reverse(f"admin:accounts_approval_{name}", args=[asked.pk])
            assert desk.post(url).status_code == 403
        assert given(home) == 0

    def test_what_cannot_be_done_is_told(self, home: Workspace, anna: User, bert: User) -> None:
        asked = orders.correct(
            workspace=home,
            asset="USD",
            amount=-USD("500"),
            reason="A mistake",
            by=Staff(anna),
            source=uuid.uuid4(),
        ).approval
        assert asked is not None
        desk = staffing.sign_in(Client(), bert)
        url = reverse("admin:accounts_approval_approve", args=[asked.pk])
        assert b'class="error"' in desk.post(url, follow=True).content
        asked.refresh_from_db()
        assert asked.state == State.PENDING
