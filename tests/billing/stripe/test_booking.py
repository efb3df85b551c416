from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.errors import Invalid
from accounts.models import Workspace
from billing import topups
from billing.models import Alert, TokenPackage, Transfer
from billing.models_funding import SavedCard, TopUp
from billing.stripe import booking, polling
from billing.stripe.client import Away
from tests.billing.stripe import payer
from tests.billing.stripe.payer import Payer, deliver, house, kinds, sound
from tests.fakes.stripe.process import DECLINED

pytestmark = pytest.mark.django_db


def intent_of(top_up: TopUp, name: str) -> dict[str, Any]:
    """A payment intent that is paid and agrees with what was asked for."""
    return {
        "id": name,
        "currency": "usd",
        "amount_received": top_up.amount_cents,
        "livemode": False,
        "metadata": {"workspace": top_up.workspace.public_id},
    }


class TestBookSession:
    def test_what_was_paid_is_credited_to_the_cent(self, ada: Payer) -> None:
        top_up = ada.pay(2345)
        assert (ada.cents, house("clearing:stripe")) == (2345, -2345)
        assert top_up.paid_at
        assert top_up.receipt_url
        assert top_up.invoice_url
        assert sound()

    def test_pages_events_and_polling_together_credit_once(self, ada: Payer) -> None:
        top_up = ada.pay()
        for event in ada.fake.events():
            assert deliver(event)
        polling.open_payments(now=timezone.now())
        booking.book_intent(top_up.intent_id or "")
        assert ada.cents == 2000
        assert kinds().count("top_up") == 1

    def test_a_page_that_is_not_paid_credits_nothing(self, ada: Payer) -> None:
        top_up = ada.ask()
        booking.book_session(top_up.session_id or "")
        assert ada.cents == 0

    def test_a_method_that_takes_days_is_credited_when_it_arrives(self, ada: Payer) -> None:
        top_up = ada.ask()
        ada.complete(top_up, later=True)
        for event in ada.fake.events():
            deliver(event)
        assert ada.cents == 0
        ada.fake.do("arrive", id=top_up.session_id, failed=False)
        for event in ada.fake.events("checkout.session.async_payment_succeeded"):
            deliver(event)
        assert ada.cents == 2000

    def test_a_method_that_fails_after_days_credits_nothing(self, ada: Payer) -> None:
        top_up = ada.ask()
        ada.complete(top_up, later=True)
        ada.fake.do("arrive", id=top_up.session_id, failed=True)
        for event in ada.fake.events():
            deliver(event)
        top_up.refresh_from_db()
        assert (top_up.status, ada.cents) == (TopUp.Status.FAILED, 0)

    def test_money_that_came_after_the_page_expired_came_all_the_same(self, ada: Payer) -> None:
        top_up = ada.ask()
        ada.fake.do("expire", id=top_up.session_id)
        deliver(ada.fake.events("checkout.session.expired")[0])
        top_up.refresh_from_db()
        assert top_up.status == TopUp.Status.EXPIRED
        ada.complete(top_up)
        booking.book_session(top_up.session_id or "")
        top_up.refresh_from_db()
        assert (top_up.status, ada.cents) == (TopUp.Status.PAID, 2000)

    def test_expiry_told_after_the_payment_changes_nothing(self, ada: Payer) -> None:
        top_up = ada.pay()
        ada.fake.do("expire", id=top_up.session_id)
        deliver(ada.fake.events("checkout.session.expired")[0])
        top_up.refresh_from_db()
        assert top_up.status == TopUp.Status.PAID

    def test_a_declined_card_leaves_the_page_open_for_another(self, ada: Payer) -> None:
        top_up = ada.ask()
        with pytest.raises(Exception, match="500"):
            ada.complete(top_up, DECLINED)
        booking.book_session(top_up.session_id or "")
        ada.complete(top_up)
        booking.book_session(top_up.session_id or "")
        assert ada.cents == 2000

    @pytest.mark.parametrize(
        "facts",
        [
            {"currency": "eur"},
            {"amount_received": 1999},
            {"livemode": True},
            {"metadata": {"top_up": "", "workspace": "ws_other"}},
        ],
        ids=lambda facts: next(iter(facts)),
    )
    def test_what_does_not_agree_is_kept_in_suspense(
        self, ada: Payer, facts: dict[str, Any]
    ) -> None:
        top_up = ada.ask()
        ada.complete(top_up)
        intent = ada.fake.all("payment_intent")[0]
        ada.fake.do("change", id=intent["id"], facts=facts)
        for _ in range(2):
            booking.book_session(top_up.session_id or "")
        assert ada.cents == 0
        assert kinds() == ["suspense"]
        assert Alert.objects.filter(kind=Alert.Kind.PAYMENT_UNMATCHED).count() == 1
        # What is in suspense is not credited as well, even if it agrees later.
        ada.fake.do("change", id=intent["id"], facts=intent)
        booking.book_session(top_up.session_id or "")
        assert ada.cents == 0
        assert sound()

    def test_a_currency_without_cents_is_never_taken_for_cents(self, ada: Payer) -> None:
        top_up = ada.ask(2000)
        ada.complete(top_up)
        intent = ada.fake.all("payment_intent")[0]["id"]
        # 2,000 yen are 2,000 of its smallest unit, as 20 dollars are.
        ada.fake.do("change", id=intent, facts={"currency": "jpy"})
        booking.book_session(top_up.session_id or "")
        assert (ada.cents, house("suspense", "JPY"), house("suspense")) == (0, 2000, 0)
        assert sound()

    def test_a_payment_of_somebody_elses_customer_is_not_credited(self, ada: Payer) -> None:
        bob = payer.payer(ada.fake, "bob")
        bob.ask()
        top_up = ada.ask()
        ada.complete(top_up, customer=ada.fake.all("customer")[0]["id"])
        booking.book_session(top_up.session_id or "")
        assert (ada.cents, bob.cents, kinds()) == (0, 0, ["suspense"])

    def test_a_customer_deleted_at_stripe_takes_nothing_away(self, ada: Payer) -> None:
        top_up = ada.ask()
        ada.complete(top_up)
        ada.fake.do("delete_customer", id=ada.fake.all("customer")[0]["id"])
        deliver(ada.fake.events("customer.deleted")[0])
        booking.book_session(top_up.session_id or "")
        assert ada.cents == 2000
        ada.pay(1000)
        assert len(ada.fake.all("customer")) == 2
        assert ada.cents == 3000

    def test_what_comes_for_a_workspace_that_was_closed_waits_for_a_person(
        self, ada: Payer
    ) -> None:
        paid, late = ada.pay(1000), ada.ask()
        ada.complete(late)
        Workspace.objects.filter(pk=ada.workspace.pk).update(closed_at=timezone.now())
        for top_up in (paid, late):
            booking.book_session(top_up.session_id or "")
        assert (ada.cents, kinds(), house("suspense")) == (1000, ["top_up", "suspense"], 2000)
        [told] = Alert.objects.filter(kind=Alert.Kind.PAYMENT_UNMATCHED)
        assert "a closed workspace" in told.facts["why"]
        assert sound()

    def test_tax_is_on_top_and_is_no_credit(self, ada: Payer, settings: Settings) -> None:
        settings.TAX_AT = "topup"
        ada.fake.do("bank", tax_percent=19)
        top_up = ada.pay(2000)
        assert (ada.cents, top_up.tax_cents, house("tax_payable")) == (2000, 380, 380)
        assert sound()

    def test_tax_that_nobody_asked_for_is_not_taken_for_credit(self, ada: Payer) -> None:
        top_up = ada.ask()
        totals = {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 380}
        facts = {"amount_total": 2380, "total_details": totals}
        ada.fake.do("change", id=top_up.session_id, facts=facts)
        ada.complete(top_up)
        booking.book_session(top_up.session_id or "")
        assert (ada.cents, kinds()) == (0, ["suspense"])

    def test_a_package_is_bought_with_the_money_it_was_paid_with(self, ada: Payer) -> None:
        TokenPackage.objects.create(slug="team", name="Team", tokens=4000, price_nanos=10**10)
        ada.pay(1, package="team")
        assert (ada.cents, TopUp.objects.get().amount_cents) == (0, 1000)
        assert Transfer.objects.filter(kind="conversion.in", amount=4000).exists()
        assert sound()

    def test_a_package_that_is_sold_no_more_leaves_its_price_as_credit(self, ada: Payer) -> None:
        TokenPackage.objects.create(slug="team", name="Team", tokens=4000, price_nanos=10**10)
        top_up = ada.ask(1, package="team")
        TokenPackage.objects.update(enabled=False)
        ada.complete(top_up)
        booking.book_session(top_up.session_id or "")
        assert ada.cents == 1000

    def test_a_package_that_costs_more_by_now_takes_nothing_else_of_its_buyer(
        self, ada: Payer
    ) -> None:
        ada.pay(2000)
        TokenPackage.objects.create(slug="team", name="Team", tokens=4000, price_nanos=10**10)
        top_up = ada.ask(1, package="team")
        TokenPackage.objects.update(price_nanos=10**10 + 1)
        ada.complete(top_up)
        booking.book_session(top_up.session_id or "")
        assert ada.cents == 3000
        assert "conversion.in" not in kinds()

    def test_one_that_costs_less_by_now_leaves_the_rest_as_credit(self, ada: Payer) -> None:
        TokenPackage.objects.create(slug="team", name="Team", tokens=4000, price_nanos=10**10)
        top_up = ada.ask(1, package="team")
        TokenPackage.objects.update(price_nanos=9 * 10**9)
        ada.complete(top_up)
        booking.book_session(top_up.session_id or "")
        assert ada.cents == 100
        assert sound()

    def test_a_card_is_kept_only_where_that_was_wanted(self, ada: Payer) -> None:
        ada.pay()
        assert not SavedCard.objects.exists()
        card = ada.save_card()
        assert (card.last4, card.brand) == ("4242", "visa")


class TestASecondPayment:
    def test_of_two_at_once_one_is_credited_and_one_is_kept_in_suspense(self, ada: Payer) -> None:
        top_up = ada.ask()
        first = booking.Paid(intent_of(top_up, "pi_first"))
        second = booking.Paid(intent_of(top_up, "pi_second"))
        seen_before = TopUp.objects.get(pk=top_up.pk)
        assert booking.book_paid(top_up, first)
        assert not booking.book_paid(seen_before, second)
        assert kinds() == ["top_up", "suspense"]
        assert (ada.cents, house("suspense")) == (2000, 2000)
        assert sound()


class TestBookIntent:
    def test_its_page_is_found_where_nobody_wrote_down_which_it_was(self, ada: Payer) -> None:
        top_up = ada.ask()
        ada.complete(top_up)
        TopUp.objects.update(session_id=None)
        booking.book_intent(ada.fake.all("payment_intent")[0]["id"])
        top_up.refresh_from_db()
        assert (top_up.status, ada.cents) == (TopUp.Status.PAID, 2000)
        assert top_up.invoice_url

    @pytest.mark.parametrize(("currency", "asset"), [("usd", "USD"), ("jpy", "JPY")])
    def test_money_that_nobody_asked_for_is_kept_in_suspense(
        self, ada: Payer, currency: str, asset: str
    ) -> None:
        intent = ada.fake.do("stray", amount=777, currency=currency)
        for _ in range(2):
            booking.book_intent(intent["id"])
        assert house("suspense", asset) == 777
        assert kinds() == ["suspense"]
        assert sound()


class TestOpen:
    def test_the_page_is_the_same_however_often_it_is_asked_for(self, ada: Payer) -> None:
        top_up = ada.ask()
        assert topups.processor().open(top_up=top_up) == top_up.session_url
        TopUp.objects.update(session_url="", session_id=None)
        top_up.refresh_from_db()
        topups.processor().open(top_up=top_up)
        assert len(ada.fake.all("checkout.session")) == 1

    def test_a_link_is_good_until_its_last_minute_and_then_said_to_be_over(
        self, ada: Payer
    ) -> None:
        asked = [topups.ask(workspace=ada.workspace, amount_cents=500, by=ada.user) for _ in "ab"]
        for top_up, minutes in zip(asked, (1, -1), strict=True):
            top_up.created_at = timezone.now() - timedelta(hours=23) + timedelta(minutes=minutes)
            top_up.save()
        assert topups.processor().open(top_up=asked[0])
        with pytest.raises(Invalid, match="is over"):
            topups.processor().open(top_up=asked[1])
        assert TopUp.objects.get(pk=asked[1].pk).status == TopUp.Status.EXPIRED

    def test_an_answer_that_was_lost_opens_no_second_page(self, ada: Payer) -> None:
        fault = {"path": "checkout/sessions", "when": "after", "count": 1}
        ada.fake.do("knobs", fail=fault)
        ada.ask()
        assert len(ada.fake.all("checkout.session")) == 1

    def test_where_stripe_is_away_nothing_is_lost(self, ada: Payer) -> None:
        top_up = ada.ask()
        ada.complete(top_up)
        fault = {"path": "checkout/sessions", "when": "before", "count": 9}
        ada.fake.do("knobs", fail=fault)
        with pytest.raises(Away):
            booking.book_session(top_up.session_id or "")
        ada.fake.do("knobs", fail=None)
        polling.open_payments(now=timezone.now())
        assert ada.cents == 2000
