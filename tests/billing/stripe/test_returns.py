from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from accounts.errors import Invalid
from accounts.models import User
from billing import claims, freezing, ledger, refunds, topups
from billing.models import Alert
from billing.models_funding import Claim, Refund, TopUp
from billing.stripe import polling, returns
from billing.stripe.client import Refused
from common.errors import ApiError
from tests import pages
from tests.billing.stripe import payer
from tests.billing.stripe.payer import CENT, Payer, deliver, house, kinds, sound

pytestmark = pytest.mark.django_db


def tell(one: Payer, *names: str) -> None:
    """Deliver the events of some kinds."""
    for event in one.fake.events(*names):
        assert deliver(event)


def staff() -> User:
    """Somebody of the operator's."""
    return pages.person("olga")


def ask(one: Payer, top_up: TopUp, cents: int) -> Refund:
    """Ask for a refund."""
    return refunds.ask(top_up=top_up, amount_cents=cents, by=one.user)


def earn(one: Payer, cents: int) -> None:
    """Have paid money come in that pays no debts by itself."""
    ledger.post(
        ledger.Transfer(
            kind="earned",
            source=topups.source_of("earned"),
            debit=ledger.house_account(kind="clearing:stripe", asset="USD"),
            credit=ledger.open_accounts(workspace_id=one.workspace.pk).usd_id,
            asset="USD",
            amount=cents * CENT,
        )
    )


class TestRefunds:
    def test_the_money_is_held_until_it_has_gone(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.fake.do("knobs", refund_status="pending")
        refund = ask(ada, top_up, 500)
        returns.send(refund=refund)
        assert (ada.cents, ada.balance().held) == (2000, 500 * CENT)
        assert sound()
        ada.fake.do("end_refund", id=ada.fake.all("refund")[0]["id"], status="succeeded")
        tell(ada, "refund.updated")
        assert (ada.cents, ada.balance().held, house("clearing:stripe")) == (1500, 0, -1500)
        assert sound()

    def test_several_parts_and_never_more_than_the_payment(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.pay(1000)
        for part in (700, 800, 500):
            returns.send(refund=ask(ada, top_up, part))
        assert ada.cents == 1000
        with pytest.raises(Invalid):
            ask(ada, top_up, 1)
        assert sound()

    def test_exactly_what_is_left_can_go_and_one_cent_more_cannot(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.spend(500)
        with pytest.raises(ApiError, match="does not cover"):
            ask(ada, top_up, 1501)
        assert ada.balance().held == 0
        assert ask(ada, top_up, 1500).credit_nanos == 1500 * CENT

    def test_money_on_its_way_back_cannot_be_spent(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ask(ada, top_up, 2000)
        assert ada.balance().available == 0

    def test_one_that_fails_at_once_frees_the_money(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.fake.do("knobs", refund_status="failed")
        returns.send(refund=ask(ada, top_up, 500))
        assert (ada.cents, ada.balance().held) == (2000, 0)
        assert Refund.objects.get().status == Refund.Status.FAILED

    def test_one_that_fails_days_later_brings_the_money_back(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        returns.send(refund=ask(ada, top_up, 500))
        assert ada.cents == 1500
        ada.fake.do("end_refund", id=ada.fake.all("refund")[0]["id"], status="failed")
        for _ in range(2):
            tell(ada, "refund.failed")
        assert (ada.cents, house("clearing:stripe")) == (2000, -2000)
        assert refunds.refundable_cents(top_up) == 2000
        assert sound()

    def test_a_state_that_is_told_late_moves_nothing_back(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        returns.send(refund=ask(ada, top_up, 500))
        [refund] = ada.fake.all("refund")
        ada.fake.do("change", id=refund["id"], facts={"status": "pending"})
        tell(ada, "refund.created")
        assert (ada.cents, ada.balance().held) == (1500, 0)
        assert Refund.objects.get().status == Refund.Status.SUCCEEDED

    def test_an_answer_that_was_lost_sends_no_second_refund(self, ada: Payer) -> None:
        refund = ask(ada, ada.pay(2000), 500)
        ada.fake.do("knobs", fail={"path": "refunds", "when": "after", "count": 1})
        returns.send(refund=refund)
        assert len(ada.fake.all("refund")) == 1
        assert ada.cents == 1500

    def test_after_a_day_it_is_looked_for_and_not_sent_again(self, ada: Payer) -> None:
        refund = ask(ada, ada.pay(2000), 500)
        ada.fake.do("refund", id=refund.top_up.intent_id, amount=500)
        [gone] = ada.fake.all("refund")
        facts = {"metadata": {"refund": refund.public_id}}
        ada.fake.do("change", id=gone["id"], facts=facts)
        Refund.objects.update(created_at=timezone.now() - timedelta(hours=24))
        returns.send(refund=refund)
        assert len(ada.fake.all("refund")) == 1
        assert (ada.cents, ada.balance().held) == (1500, 0)

    def test_one_that_stays_open_keeps_no_other_waiting(
        self, ada: Payer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(polling, "MOST", 1)
        first, second = (ask(ada, ada.pay(2000), cents) for cents in (500, 600))
        ada.fake.do("knobs", refund_status="pending")
        polling.open_payments(now=timezone.now())
        ada.fake.do("knobs", refund_status="succeeded")
        polling.open_payments(now=timezone.now())
        first.refresh_from_db()
        second.refresh_from_db()
        assert (first.status, second.status) == ("pending", "succeeded")

    def test_a_debt_that_nobody_pays_keeps_no_other_unpaid(
        self, ada: Payer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(polling, "MOST", 1)
        bob = payer.payer(ada.fake, "bob")
        for one in (ada, bob):
            top_up = one.pay(2000)
            one.spend(1800)
            ada.fake.do("refund", id=top_up.intent_id, amount=500)
        tell(ada, "refund.created")
        earn(bob, 1000)
        for _ in range(2):
            polling.open_payments(now=timezone.now())
        assert (bob.cents, claims.debt(workspace_id=bob.workspace.pk)) == (700, 0)

    @pytest.mark.parametrize(("of_other", "cents"), [(True, 500), (False, 400)])
    def test_one_with_our_mark_that_is_not_what_we_asked_for_is_another(
        self, ada: Payer, of_other: bool, cents: int
    ) -> None:
        refund, other = ask(ada, ada.pay(2000), 500), ada.pay(2000)
        paid = other if of_other else refund.top_up
        ada.fake.do("refund", id=paid.intent_id, amount=cents)
        [gone] = ada.fake.all("refund")
        facts = {"metadata": {"refund": refund.public_id}}
        ada.fake.do("change", id=gone["id"], facts=facts)
        tell(ada, "refund.created")
        refund.refresh_from_db()
        assert (refund.status, refund.external_id) == (Refund.Status.PENDING, None)
        claim = Claim.objects.get(external_id=gone["id"])
        assert (claim.top_up, claim.amount_nanos) == (paid, cents * CENT)
        assert Alert.objects.get(kind=Alert.Kind.PAYMENT_UNMATCHED).subject == gone["id"]
        assert (ada.cents, ada.balance().held) == (4000 - cents, 500 * CENT)
        assert sound()

    def test_a_key_that_is_replaced_frees_nothing(self, ada: Payer, settings: Settings) -> None:
        refund = ask(ada, ada.pay(2000), 500)
        ada.fake.do("knobs", key="sk_test_new")
        with pytest.raises(Refused):
            returns.send(refund=refund)
        assert ada.balance().held == 500 * CENT
        settings.STRIPE_SECRET_KEY = "sk_test_new"
        returns.send(refund=refund)
        assert (ada.cents, ada.balance().held) == (1500, 0)

    def test_one_that_stripe_refuses_frees_the_money(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        TopUp.objects.filter(pk=top_up.pk).update(intent_id="pi_unknown")
        returns.send(refund=ask(ada, TopUp.objects.get(), 500))
        assert (ada.cents, ada.balance().held) == (2000, 0)

    def test_one_made_at_stripe_is_taken_from_what_is_left(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.spend(1800)
        ada.fake.do("refund", id=top_up.intent_id, amount=500)
        tell(ada, "refund.created")
        assert (ada.cents, claims.debt(workspace_id=ada.workspace.pk)) == (0, 300 * CENT)
        assert not ada.frozen
        ada.fake.do("end_refund", id=ada.fake.all("refund")[0]["id"], status="failed")
        tell(ada, "refund.failed")
        assert (ada.cents, claims.debt(workspace_id=ada.workspace.pk)) == (200, 0)
        assert sound()

    def test_the_charges_event_alone_tells_of_all_its_refunds(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.fake.do("refund", id=top_up.intent_id, amount=300)
        ada.fake.do("refund", id=top_up.intent_id, amount=200)
        tell(ada, "charge.refunded")
        assert (ada.cents, Claim.objects.count()) == (1500, 2)
        assert sound()

    def test_tax_goes_back_with_the_credit_to_the_last_nano_dollar(
        self, ada: Payer, settings: Settings
    ) -> None:
        settings.TAX_AT = "topup"
        ada.fake.do("bank", tax_percent=19)
        top_up = ada.pay(1999)
        for part in (777, 1000, top_up.total_cents - 1777):
            returns.send(refund=ask(ada, top_up, part))
        assert ada.balance().paid == 0
        assert (house("tax_payable"), house("clearing:stripe")) == (0, 0)
        assert sound()


class TestDisputes:
    def dispute(self, one: Payer, top_up: TopUp, **facts: Any) -> str:
        """Let a bank take a payment back."""
        found = one.fake.do("dispute", id=top_up.intent_id, **facts)
        tell(one, "charge.dispute.created")
        return str(found["id"])

    def end(self, one: Payer, dispute: str, status: str) -> None:
        """Let it end."""
        one.fake.do("end_dispute", id=dispute, status=status)
        tell(one, "charge.dispute.closed")

    def test_what_is_left_is_taken_and_the_workspace_frozen(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        self.dispute(ada, top_up)
        assert (ada.cents, ada.frozen, house("clearing:stripe")) == (0, True, 0)
        assert sound()

    def test_what_is_spent_is_owed_and_later_payments_pay_it_first(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.spend(1500)
        self.dispute(ada, top_up)
        assert claims.debt(workspace_id=ada.workspace.pk) == 1500 * CENT
        assert house("receivable") == -1500
        assert sound()
        claims.lose(external_id=Claim.objects.get().external_id)
        freezing.unfreeze(workspace=ada.workspace, reason="They paid.", by=staff())
        ada.pay(1000)
        assert (ada.cents, claims.debt(workspace_id=ada.workspace.pk)) == (0, 500 * CENT)
        ada.pay(2000)
        assert (ada.cents, claims.debt(workspace_id=ada.workspace.pk)) == (1500, 0)
        assert house("receivable") == 0
        assert sound()

    def test_one_that_is_won_gives_all_back_and_unfreezes(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.spend(1500)
        dispute = self.dispute(ada, top_up)
        for _ in range(2):
            self.end(ada, dispute, "won")
        assert (ada.cents, ada.frozen) == (500, False)
        assert claims.debt(workspace_id=ada.workspace.pk) == 0
        assert sound()

    def test_one_that_is_lost_stays_taken(self, ada: Payer) -> None:
        dispute = self.dispute(ada, ada.pay(2000))
        self.end(ada, dispute, "lost")
        assert (ada.cents, ada.frozen) == (0, True)
        assert Claim.objects.get().status == Claim.Status.LOST

    def test_after_one_that_is_lost_staff_decide_for_good(self, ada: Payer) -> None:
        first, second = ada.pay(2000), ada.pay(1000)
        self.end(ada, self.dispute(ada, first), "lost")
        freezing.unfreeze(workspace=ada.workspace, reason="They paid.", by=staff())
        assert (ada.cents, ada.frozen) == (1000, False)
        # A later one freezes again, and when it is won the old one is no reason any more.
        other = self.dispute(ada, second)
        assert (ada.cents, ada.frozen) == (0, True)
        self.end(ada, other, "won")
        assert (ada.cents, ada.frozen) == (1000, False)

    def test_what_staff_froze_before_stays_frozen_when_one_is_won(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        freezing.freeze(workspace=ada.workspace, reason="Spam.", by=staff())
        self.end(ada, self.dispute(ada, top_up), "won")
        assert (ada.cents, ada.frozen) == (2000, True)

    def test_one_that_its_bank_took_back_gives_all_back(self, ada: Payer) -> None:
        dispute = self.dispute(ada, ada.pay(2000))
        self.end(ada, dispute, "prevented")
        assert (ada.cents, ada.frozen) == (2000, False)
        assert sound()

    def test_of_two_the_second_keeps_the_workspace_frozen(self, ada: Payer) -> None:
        first, second = ada.pay(2000), ada.pay(1000)
        one, two = self.dispute(ada, first), self.dispute(ada, second)
        self.end(ada, one, "won")
        assert (ada.cents, ada.frozen) == (2000, True)
        self.end(ada, two, "won")
        assert (ada.cents, ada.frozen) == (3000, False)
        assert sound()

    def test_a_part_of_a_payment_takes_that_part(self, ada: Payer) -> None:
        self.dispute(ada, ada.pay(2000), amount=600)
        assert ada.cents == 1400

    def test_a_question_of_a_bank_takes_nothing(self, ada: Payer) -> None:
        self.dispute(ada, ada.pay(2000), status="warning_needs_response")
        assert (ada.cents, ada.frozen) == (2000, False)

    def test_a_disputed_payment_is_not_refunded_as_well(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.pay(2000)
        self.dispute(ada, top_up)
        with pytest.raises(Invalid):
            ask(ada, top_up, 100)

    def test_money_that_calls_hold_stays_theirs(self, ada: Payer) -> None:
        top_up, other = ada.pay(2000), ada.pay(1000)
        ask(ada, other, 1000)
        ada.spend(1500)
        self.dispute(ada, top_up)
        assert (ada.cents, ada.balance().available) == (1000, 0)
        assert claims.debt(workspace_id=ada.workspace.pk) == 1500 * CENT
        assert sound()


class TestWarnings:
    def test_a_warning_keeps_the_money_ready_and_the_dispute_takes_it(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.fake.do("warn", id=top_up.intent_id)
        tell(ada, "radar.early_fraud_warning.created")
        assert (ada.cents, ada.frozen, house("reserve:fraud")) == (0, True, 2000)
        assert sound()
        dispute = ada.fake.do("dispute", id=top_up.intent_id)
        tell(ada, "charge.dispute.created")
        assert (house("reserve:fraud"), house("clearing:stripe")) == (0, 0)
        ada.fake.do("end_dispute", id=dispute["id"], status="won")
        tell(ada, "charge.dispute.closed")
        assert (ada.cents, ada.frozen) == (2000, False)
        assert sound()

    def test_the_same_warning_again_takes_nothing_more(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.fake.do("warn", id=top_up.intent_id)
        for event in ada.fake.events("radar.early_fraud_warning.created"):
            deliver(event)
            deliver(event | {"id": "evt_again"})
        assert kinds().count("warning.taken") == 1

    def test_of_one_that_staff_accepted_the_dispute_takes_no_second_time(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.pay(1500)
        warning = ada.fake.do("warn", id=top_up.intent_id)
        tell(ada, "radar.early_fraud_warning.created")
        claims.lose(external_id=warning["id"])
        ada.fake.do("dispute", id=top_up.intent_id)
        tell(ada, "charge.dispute.created")
        assert (ada.cents, house("reserve:fraud"), ada.frozen) == (1500, 0, True)
        assert sound()

    def test_staff_decide_and_the_money_stays_ready(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.fake.do("warn", id=top_up.intent_id)
        tell(ada, "radar.early_fraud_warning.created")
        freezing.unfreeze(workspace=ada.workspace, reason="They called.", by=staff())
        assert (ada.cents, ada.frozen, house("reserve:fraud")) == (0, False, 2000)
        assert sound()


class TestReleaseClaim:
    def test_staff_give_back_what_a_warning_kept(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        warning = ada.fake.do("warn", id=top_up.intent_id)
        tell(ada, "radar.early_fraud_warning.created")
        call_command("release_claim", warning["id"], "--json")
        assert (ada.cents, ada.frozen) == (2000, False)
        assert sound()

    def test_a_claim_that_is_not_there_is_said(self, ada: Payer) -> None:
        with pytest.raises(CommandError, match="no claim"):
            call_command("release_claim", "dp_none")
