from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from billing import claims, incidents, invariants, ledger
from billing.models import Account, Alert, Claim, Refund, TopUp, Usage
from tests.billing.bank import Customer, customer
from tests.pages import Inline, closed_request, home, make_key, person
from tests.staff.desk import clerk, desk, open_form, take

pytestmark = pytest.mark.django_db

USD = 10**9


@pytest.fixture
def staff() -> Client:
    return desk(clerk(superuser=True, name="boss"))


@pytest.fixture
def one() -> Customer:
    return customer(usd=20 * USD)


@pytest.fixture
def payment(one: Customer) -> TopUp:
    """A payment of $20, already credited."""
    return TopUp.objects.create(
        workspace=one.workspace,
        method="checkout",
        status="paid",
        amount_cents=2000,
        intent_id="pi_test",
        paid_at=timezone.now(),
    )


def frozen(one: Customer) -> bool:
    return Account.objects.get(pk=one.usd).frozen


class TestRefund:
    def test_it_sets_the_credit_aside_first_and_once(
        self, one: Customer, payment: TopUp, staff: Client
    ) -> None:
        url = reverse("admin:billing_topup_refund", args=[payment.pk])
        form = open_form(staff, url) | {"amount": "12.50", "reason": "Bought twice"}
        for _ in range(2):
            staff.post(url, form, follow=True)
        refund = Refund.objects.get()
        assert (refund.status, refund.amount_cents, refund.reason) == (
            "pending", 1250, "Bought twice",
        )  # fmt: skip
        assert ledger.balance(workspace_id=one.workspace.pk, asset="USD").available == 75 * 10**8
        assert invariants.check().ok

    def test_not_more_than_is_left(self, payment: TopUp, staff: Client) -> None:
        url = reverse("admin:billing_topup_refund", args=[payment.pk])
        page = take(staff, url, amount="20.01")
        assert page.status_code == 422
        assert not Refund.objects.exists()

    def test_two_who_refund_the_same_are_told(self, payment: TopUp, staff: Client) -> None:
        url = reverse("admin:billing_topup_refund", args=[payment.pk])
        first, second = open_form(staff, url), open_form(staff, url)
        staff.post(url, first | {"amount": "5", "reason": "Bought twice"})
        page = staff.post(url, second | {"amount": "5", "reason": "Bought twice"})
        assert "changed since you read it" in page.content.decode()
        assert Refund.objects.count() == 1

    def test_a_pending_one_is_asked_about_again(self, payment: TopUp, staff: Client) -> None:
        take(staff, reverse("admin:billing_topup_refund", args=[payment.pk]), amount="5")
        refund = Refund.objects.get()
        take(staff, reverse("admin:billing_refund_ask", args=[refund.pk]), reason="Two days old")
        assert AuditEvent.objects.get(action="refund.asked_again").target == refund.public_id

    def test_it_takes_the_right(self, payment: TopUp) -> None:
        looker = desk(clerk("billing.view_topup"))
        url = reverse("admin:billing_topup_refund", args=[payment.pk])
        assert looker.post(url, {"amount": "5", "reason": "Mine"}).status_code == 403


class TestClaims:
    @pytest.fixture
    def dispute(self, payment: TopUp) -> Claim:
        return claims.take(
            kind=Claim.Kind.DISPUTE, external_id="dp_1", top_up=payment, amount_nanos=20 * USD
        )

    def test_released_it_gives_back_and_thaws(
        self, one: Customer, dispute: Claim, staff: Client
    ) -> None:
        assert frozen(one)
        page = staff.get(reverse("admin:billing_claim_change", args=[dispute.pk]))
        assert Inline(page.content.decode()).found == []
        take(staff, reverse("admin:billing_claim_release", args=[dispute.pk]), reason="A friend")
        assert not frozen(one)
        assert ledger.balance(workspace_id=one.workspace.pk, asset="USD").paid == 20 * USD
        written = AuditEvent.objects.get(action="claim.released", workspace=None)
        theirs = AuditEvent.objects.get(action="claim.released", workspace=one.workspace)
        assert theirs.after == {"status": "reversed", "froze": False}
        assert written.before == {"status": "open", "froze": True, "reason": None}
        assert written.after == {"status": "reversed", "froze": False, "reason": "A friend"}
        assert invariants.check().ok

    def test_accepted_it_stands_and_the_customer_stays_frozen(
        self, one: Customer, dispute: Claim, staff: Client
    ) -> None:
        take(staff, reverse("admin:billing_claim_accept", args=[dispute.pk]), reason="Fraud")
        dispute.refresh_from_db()
        assert dispute.status == "lost"
        assert frozen(one)
        again = staff.get(reverse("admin:billing_claim_accept", args=[dispute.pk]))
        assert again.status_code == 302

    @pytest.mark.parametrize("step", ["release", "accept"])
    @pytest.mark.parametrize("kind", [Claim.Kind.DISPUTE, Claim.Kind.WARNING, Claim.Kind.REFUND])
    def test_decided_there_is_no_incident_any_more(
        self, payment: TopUp, staff: Client, kind: Claim.Kind, step: str
    ) -> None:
        told = {"kind": Alert.Kind.PAYMENT_DISPUTED}
        claim = claims.take(kind=kind, external_id="x_1", top_up=payment, amount_nanos=USD)
        for subject in ("x_1", "x_2"):
            incidents.begin(**told, subject=subject, facts={})
        take(staff, reverse(f"admin:billing_claim_{step}", args=[claim.pk]), reason="Looked up")
        assert [each.subject for each in Alert.objects.filter(closed_at=None)] == ["x_2"]

    def test_a_warning_that_became_a_dispute_is_over(self, payment: TopUp) -> None:
        for kind, name in ((Claim.Kind.WARNING, "issfr_1"), (Claim.Kind.DISPUTE, "dp_1")):
            claims.take(kind=kind, external_id=name, top_up=payment, amount_nanos=USD)
            incidents.begin(kind=Alert.Kind.PAYMENT_DISPUTED, subject=name, facts={})
        assert [each.subject for each in Alert.objects.filter(closed_at=None)] == ["dp_1"]


class TestQuarantine:
    def test_a_quarantined_call_is_reviewed_once(self, staff: Client) -> None:
        user = person("ada")
        call = closed_request(make_key(user), home(user), reason="usage_contradiction")
        lists = reverse("admin:billing_usage_changelist")
        page = staff.get(lists, {"quarantine": "usage_contradiction"})
        assert str(call.pk) in page.content.decode()
        url = reverse("admin:billing_usage_review", args=[call.pk])
        take(staff, url, reason="The provider says 12 tokens")
        written = AuditEvent.objects.get(action="call.reviewed")
        assert written.target == str(call.pk)
        assert staff.get(url).status_code == 302
        assert Usage.objects.get(pk=call.pk).charged == 123

    def test_nothing_else_is(self, staff: Client) -> None:
        user = person("ada")
        call = closed_request(make_key(user), home(user))
        url = reverse("admin:billing_usage_review", args=[call.pk])
        assert staff.get(url).status_code == 302

    def test_uncollected_calls_are_listed(self, staff: Client) -> None:
        user = person("ada")
        good = closed_request(make_key(user), home(user))
        bad = closed_request(make_key(user), home(user), uncollected=5, cost=128)
        page = staff.get(reverse("admin:billing_usage_changelist"), {"uncollected": "yes"})
        assert str(bad.pk) in page.content.decode()
        assert str(good.pk) not in page.content.decode()
