from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core import mail
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from accounts import erasure
from accounts.errors import Invalid, NotVerified
from billing import autotopups, claims, notices, refunds, topups
from billing.models import Alert
from billing.models_funding import AutoTopUp, SavedCard, StripeCustomer, StripeEntry, TopUp
from billing.stripe import booking, cards, payouts, returns
from billing.stripe.client import Away
from billing.tasks import poll_payments, reconcile_payments, top_up_automatically
from tests import pages
from tests.billing.stripe import payer
from tests.billing.stripe.payer import Payer, deliver, house, kinds, sound
from tests.fakes.stripe.process import ASKS, DECLINED, FakeStripe

pytestmark = pytest.mark.django_db


def again(one: Payer) -> None:
    """Let the silence after a decline pass, and the beat come by."""
    AutoTopUp.objects.filter(workspace=one.workspace).update(retry_after=None)
    top_up_automatically()


def drifts() -> list[str]:
    """The transactions of Stripe's that operators are told of now."""
    open_ones = Alert.objects.filter(kind=Alert.Kind.PAYMENT_DRIFT, closed_at=None)
    return list(open_ones.order_by("subject").values_list("subject", flat=True))


def card_of(one: Payer, number: str) -> SavedCard:
    """A card that can be saved, whatever it does when it is charged."""
    url = topups.processor().save_card(workspace=one.workspace)
    session = url.rsplit("/", 1)[-1]
    one.fake.do("complete", id=session, number=number)
    booking.book_session(session)
    return SavedCard.objects.latest("id")


def begin_elsewhere() -> list[TopUp]:
    """Begin what is due on a connection of its own."""
    try:
        return autotopups.begin_due(now=timezone.now())
    finally:
        connection.close()


def wait_for_a_lock() -> None:
    """Wait until somebody waits for what this transaction has."""
    deadline = time.monotonic() + 30
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "select count(*) from pg_locks"
                " where not granted and pg_backend_pid() = any(pg_blocking_pids(pid))"
            )
            if cursor.fetchone()[0]:
                return
            assert time.monotonic() < deadline
            time.sleep(0.02)


class TestCharge:
    def test_a_saved_card_is_charged_without_its_owner(self, ada: Payer) -> None:
        top_up = ada.ask(1500, card=ada.save_card())
        for _ in range(2):
            cards.charge(top_up=top_up)
        assert ada.cents == 2000
        assert len(ada.fake.all("charge")) == 2

    def test_an_answer_that_was_lost_charges_once(self, ada: Payer) -> None:
        top_up = ada.ask(1500, card=ada.save_card())
        ada.fake.do("knobs", fail={"path": "payment_intents", "when": "after", "count": 1})
        cards.charge(top_up=top_up)
        assert ada.cents == 2000
        assert len(ada.fake.all("charge")) == 2

    def test_after_a_day_it_is_looked_for_and_not_charged_again(self, ada: Payer) -> None:
        card = ada.save_card()
        found, lost = ada.ask(1500, card=card), ada.ask(1600, card=card)
        # Charged, and then it crashes: what it came to is asked after the charge.
        ada.fake.do("knobs", fail={"path": "payment_intents/", "when": "before", "count": 9})
        with pytest.raises(Away):
            cards.charge(top_up=found)
        ada.fake.do("knobs", fail=None)
        old = timezone.now() - timedelta(hours=24)
        TopUp.objects.filter(pk__in=(found.pk, lost.pk)).update(created_at=old)
        poll_payments()
        found.refresh_from_db()
        lost.refresh_from_db()
        assert (found.status, lost.status) == (TopUp.Status.PAID, TopUp.Status.FAILED)
        assert len(ada.fake.all("charge")) == 2

    def test_a_key_that_is_replaced_declines_nothing(self, ada: Payer, settings: Settings) -> None:
        ada.automatic(ada.save_card())
        ada.fake.do("knobs", key="sk_test_new")
        top_up_automatically()
        top_up, wishes = TopUp.objects.get(method="auto"), AutoTopUp.objects.get()
        assert (top_up.status, wishes.failures) == (TopUp.Status.PENDING, 0)
        settings.STRIPE_SECRET_KEY = "sk_test_new"
        poll_payments()
        assert ada.cents == 1500

    def test_a_declined_card_credits_nothing(self, ada: Payer) -> None:
        top_up = ada.ask(1500, card=card_of(ada, DECLINED))
        cards.charge(top_up=top_up)
        top_up.refresh_from_db()
        assert (top_up.status, top_up.failure, ada.cents) == ("failed", "card_declined", 0)

    def test_a_card_that_its_owner_removed_is_not_charged(self, ada: Payer) -> None:
        card = ada.save_card()
        top_up = ada.ask(1500, card=card)
        topups.processor().forget_card(card=card, by=None)
        cards.charge(top_up=top_up)
        assert len(ada.fake.all("charge")) == 1


class TestAutoTopUp:
    def test_it_is_off_until_somebody_wants_it(self, ada: Payer) -> None:
        assert not autotopups.of(workspace=ada.workspace).enabled
        with pytest.raises(Invalid, match="Save a card"):
            autotopups.choose(
                workspace=ada.workspace,
                enabled=True,
                threshold_nanos=1,
                amount_cents=1000,
                monthly_limit_cents=5000,
                card=None,
                by=ada.user,
            )

    def test_a_low_balance_is_topped_up_until_the_month_is_used_up(self, ada: Payer) -> None:
        ada.automatic(ada.save_card(), monthly_limit_cents=2500)
        for _ in range(4):
            top_up_automatically()
        assert ada.cents == 500 + 2000
        assert sound()

    def test_a_balance_at_the_threshold_is_enough(self, ada: Payer) -> None:
        ada.automatic(ada.save_card(), threshold_nanos=5 * 10**9)
        top_up_automatically()
        assert ada.cents == 500
        ada.spend(1)
        top_up_automatically()
        assert ada.cents == 1499

    def test_one_attempt_is_open_at_a_time(self, ada: Payer) -> None:
        ada.automatic(ada.save_card())
        now = timezone.now()
        assert len(autotopups.begin_due(now=now)) == 1
        assert autotopups.begin_due(now=now) == []
        with pytest.raises(IntegrityError), transaction.atomic():
            TopUp.objects.create(workspace=ada.workspace, method="auto", amount_cents=1)

    def test_after_a_decline_it_is_silent_and_after_three_it_is_off(self, ada: Payer) -> None:
        ada.automatic(card_of(ada, DECLINED))
        top_up_automatically()
        top_up_automatically()
        assert TopUp.objects.count() == 1
        again(ada)
        again(ada)
        wishes = AutoTopUp.objects.get()
        assert (wishes.enabled, wishes.failures) == (False, 3)
        assert wishes.stopped_because == "card_declined"
        again(ada)
        assert TopUp.objects.filter(method="auto").count() == 3
        notices.deliver()
        subjects = [letter.subject for letter in mail.outbox]
        assert sum("declined" in each for each in subjects) == 2
        assert sum("is off" in each for each in subjects) == 1

    def test_a_paid_one_forgets_what_failed_before(self, ada: Payer) -> None:
        ada.automatic(ada.save_card())
        AutoTopUp.objects.update(failures=2)
        top_up_automatically()
        assert AutoTopUp.objects.get().failures == 0

    def test_a_bank_that_wants_the_owner_is_answered_by_a_link(self, ada: Payer) -> None:
        ada.automatic(card_of(ada, ASKS))
        top_up_automatically()
        notices.deliver()
        link = TopUp.objects.get(method="checkout")
        assert f"/top-ups/{link.public_id}" in str(mail.outbox[-1].body)
        answer = pages.browser().get(f"/top-ups/{link.public_id}")
        assert answer["location"].startswith(ada.fake.url)

    def test_a_frozen_workspace_is_not_charged(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        ada.automatic(ada.save_card())
        ada.fake.do("dispute", id=top_up.intent_id)
        deliver(ada.fake.events("charge.dispute.created")[0])
        top_up_automatically()
        assert not TopUp.objects.filter(method="auto").exists()


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_who_switches_it_off_while_it_is_begun_is_not_charged(self, fake: FakeStripe) -> None:
        ada = payer.payer(fake)
        wishes = ada.automatic(ada.save_card())
        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                AutoTopUp.objects.filter(pk=wishes.pk).update(enabled=False)
                begun = pool.submit(begin_elsewhere)
                wait_for_a_lock()
            assert begun.result(timeout=30) == []


class TestAsk:
    def test_an_unproved_address_has_no_card_charged_by_itself(self, ada: Payer) -> None:
        card = ada.save_card()
        ada.user = pages.person("eve", verified=False)
        with pytest.raises(NotVerified):
            ada.automatic(card)
        assert not ada.automatic(card, enabled=False).enabled

    def test_an_unproved_address_pays_nothing(self, fake: FakeStripe) -> None:
        eve = pages.person("eve", verified=False)
        with pytest.raises(NotVerified):
            topups.ask(workspace=pages.home(eve), amount_cents=1000, by=eve)

    @pytest.mark.parametrize("cents", [-1, 0, 499, 500001])
    def test_an_amount_out_of_bounds_is_refused(self, ada: Payer, cents: int) -> None:
        with pytest.raises(Invalid):
            ada.ask(cents)


class TestReconcile:
    def test_fees_and_payouts_are_booked_once(self, ada: Payer) -> None:
        ada.pay(2000)
        payout = ada.fake.do("payout", amount=1500)
        for _ in range(2):
            reconcile_payments()
        assert (house("stripe_fees"), house("bank")) == (-88, -1500)
        assert house("clearing:stripe") == -2000 + 88 + 1500
        ada.fake.do("fail_payout", id=payout["id"])
        deliver(ada.fake.events("payout.failed")[0])
        assert house("bank") == 0
        assert sound()

    def test_a_payment_that_nothing_told_of_is_found(self, ada: Payer) -> None:
        ada.complete(ada.ask())
        reconcile_payments()
        assert ada.cents == 2000

    def test_a_refund_and_a_dispute_that_nothing_told_of_are_found(self, ada: Payer) -> None:
        first, second = ada.pay(2000), ada.pay(1000)
        ada.fake.do("refund", id=first.intent_id, amount=500)
        dispute = ada.fake.do("dispute", id=second.intent_id)
        reconcile_payments()
        assert (ada.cents, ada.frozen) == (1500, True)
        ada.fake.do("end_dispute", id=dispute["id"], status="won")
        ada.fake.do("end_refund", id=ada.fake.all("refund")[0]["id"], status="failed")
        reconcile_payments()
        assert (ada.cents, ada.frozen) == (3000, False)
        assert drifts() == []
        assert not StripeEntry.objects.filter(matched=False).exists()
        assert sound()

    def test_what_went_at_stripe_and_not_here_is_told_until_it_agrees(self, ada: Payer) -> None:
        refund = refunds.ask(top_up=ada.pay(2000), amount_cents=500, by=ada.user)
        returns.send(refund=refund)
        dispute = ada.fake.do("dispute", id=ada.pay(1000).intent_id)
        deliver(ada.fake.events("charge.dispute.created")[0])
        reconcile_payments()
        assert drifts() == []
        # Staff gave back what the bank did not; the refund did not fail at Stripe.
        claims.reverse(external_id=dispute["id"])
        refunds.fail(refund=refund, why="by mistake")
        reconcile_payments()
        assert len(drifts()) == 2
        ada.fake.do("end_dispute", id=dispute["id"], status="won")
        ada.fake.do("end_refund", id=ada.fake.all("refund")[0]["id"], status="failed")
        reconcile_payments()
        assert drifts() == []

    def test_what_came_while_nobody_looked_is_looked_at(self, ada: Payer) -> None:
        ada.pay(2000)
        now = timezone.now()
        payouts.reconcile(now=now)
        ada.fake.do("payout", amount=1500)
        payout = ada.fake.events("payout.paid")[0]
        ada.pay(1000)
        assert deliver(payout)
        payouts.reconcile(now=now + timedelta(days=30))
        assert house("stripe_fees") == -88 - 59

    def test_one_that_cannot_be_booked_keeps_no_other_from_being_compared(self, ada: Payer) -> None:
        stray = ada.fake.do("stray", amount=700, currency="usd")
        ada.fake.do("dispute", id=stray["id"])
        ada.complete(ada.ask())
        fault = {"path": f"payment_intents/{stray['id']}", "when": "before", "count": 9}
        ada.fake.do("knobs", fail=fault)
        reconcile_payments()
        assert ada.cents == 2000
        assert len(drifts()) == 2

    def test_what_stripe_only_sets_aside_is_not_in_the_bank(self, ada: Payer) -> None:
        ada.pay(2000)
        ada.fake.do("payout", amount=1500)
        [entry] = [each for each in ada.fake.all("balance_transaction") if each["amount"] < 0]
        ada.fake.do("change", id=entry["id"], facts={"type": "payout_minimum_balance_hold"})
        reconcile_payments()
        assert (house("bank"), drifts()) == (0, [entry["id"]])

    def test_money_of_nobody_goes_to_suspense(self, ada: Payer) -> None:
        ada.fake.do("stray", amount=700, currency="usd")
        reconcile_payments()
        assert "suspense" in kinds()


class TestAnAccountThatEnded:
    def test_leaves_no_customer_and_no_card_at_stripe(self, ada: Payer) -> None:
        ada.save_card()
        erasure.erase(user=ada.user)

        poll_payments()
        poll_payments()

        assert all(each.get("deleted") for each in ada.fake.all("customer"))
        assert not StripeCustomer.objects.exists()
        assert set(SavedCard.objects.values_list("brand", "last4")) == {("", "")}

    def test_is_forgotten_even_where_stripe_knows_no_such_customer(self, ada: Payer) -> None:
        ada.save_card()
        erasure.erase(user=ada.user)
        StripeCustomer.objects.update(customer_id="cus_unknown")

        poll_payments()

        assert not StripeCustomer.objects.exists()

    def test_of_those_who_stay_nothing_is_forgotten(self, ada: Payer) -> None:
        ada.save_card()

        poll_payments()

        assert StripeCustomer.objects.count() == 1
        assert [each.get("deleted") for each in ada.fake.all("customer")] == [None]
