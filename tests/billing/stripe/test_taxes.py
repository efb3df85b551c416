from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from billing import claims, refunds, topups
from billing.models_funding import SavedCard, TopUp
from billing.stripe import booking, cards, returns
from billing.stripe.client import Away
from billing.tasks import top_up_automatically
from tests import pages
from tests.billing.stripe.payer import CENT, Payer, deliver, house, sound
from tests.fakes.stripe.form import Body

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def taxed(ada: Payer, settings: Settings) -> None:
    """Stripe Tax is on, at 19 %."""
    settings.TAX_AT = "topup"
    ada.fake.do("bank", tax_percent=19)


def charge(one: Payer, cents: int, card: SavedCard) -> TopUp:
    """Charge a saved card."""
    top_up = one.ask(cents, card=card)
    cards.charge(top_up=top_up)
    top_up.refresh_from_db()
    return top_up


def recorded(one: Payer, kind: str) -> list[Body]:
    """What Stripe Tax has of charges, or took off them."""
    return [each for each in one.fake.all("tax.transaction") if each["type"] == kind]


def card_without_page(one: Payer) -> SavedCard:
    """A card that was saved without a payment."""
    session = topups.processor().save_card(workspace=one.workspace).rsplit("/", 1)[-1]
    one.fake.do("complete", id=session, number="4242424242424242")
    booking.book_session(session)
    return SavedCard.objects.latest("id")


class TestAssess:
    def test_a_saved_card_is_charged_with_tax_that_stripe_records(self, ada: Payer) -> None:
        top_up = charge(ada, 2000, ada.save_card())
        assert (top_up.status, top_up.tax_cents, top_up.total_cents) == ("paid", 380, 2380)
        [intent] = [each for each in ada.fake.all("payment_intent") if each["amount"] == 2380]
        assert intent["hooks"]["inputs"]["tax"]["calculation"] == top_up.tax_calculation
        [transaction] = recorded(ada, "transaction")
        assert transaction["reference"] == top_up.intent_id
        # 5 dollars paid on a page, and 20 by the card that it kept.
        assert (ada.cents, house("tax_payable")) == (2500, 380 + 95)
        assert sound()

    def test_it_is_asked_once_however_often_the_charge_is_tried(self, ada: Payer) -> None:
        top_up = ada.ask(2000, card=ada.save_card())
        ada.fake.do("knobs", fail={"path": "payment_intents", "when": "before", "count": 9})
        with pytest.raises(Away):
            cards.charge(top_up=top_up)
        # What is due by now does not change a charge under way.
        ada.fake.do("bank", tax_percent=25)
        ada.fake.do("knobs", fail=None)
        cards.charge(top_up=top_up)
        top_up.refresh_from_db()
        assert (top_up.status, top_up.tax_cents) == ("paid", 380)
        assert len(ada.fake.all("tax.calculation")) == 1
        assert len(recorded(ada, "transaction")) == 1

    def test_where_only_the_card_has_an_address_that_one_counts(self, ada: Payer) -> None:
        top_up = charge(ada, 2000, card_without_page(ada))
        assert ada.fake.all("customer")[0]["address"] is None
        assert (top_up.status, top_up.tax_cents) == ("paid", 380)

    def test_where_nobody_knows_an_address_nothing_is_charged(
        self, ada: Payer, settings: Settings
    ) -> None:
        settings.TAX_AT = "none"
        card = card_without_page(ada)
        settings.TAX_AT = "topup"
        top_up = charge(ada, 2000, card)
        assert (top_up.status, top_up.failure) == ("failed", "customer_tax_location_invalid")
        assert ada.fake.all("charge") == []

    def test_no_tax_due_is_recorded_too(self, ada: Payer) -> None:
        ada.fake.do("bank", tax_percent=0)
        top_up = charge(ada, 2000, ada.save_card())
        assert (top_up.tax_cents, top_up.status) == (0, "paid")
        assert len(recorded(ada, "transaction")) == 1

    def test_automatic_top_ups_are_taxed_as_well(self, ada: Payer) -> None:
        ada.automatic(ada.save_card())
        top_up_automatically()
        top_up = TopUp.objects.get(method="auto")
        assert (top_up.status, top_up.tax_cents) == ("paid", 190)


class TestRefunds:
    def test_each_part_takes_its_tax_off_at_stripe_and_here(self, ada: Payer) -> None:
        top_up = charge(ada, 2000, ada.save_card())
        before = house("tax_payable")
        for part in (1190, 1190):
            returns.send(refund=refunds.ask(top_up=top_up, amount_cents=part, by=ada.user))
        assert len(recorded(ada, "reversal")) == 2
        assert (ada.cents, house("tax_payable")) == (500, before - 380)
        assert sound()

    def test_one_that_fails_later_brings_its_tax_back(self, ada: Payer) -> None:
        top_up = charge(ada, 2000, ada.save_card())
        before = house("tax_payable")
        returns.send(refund=refunds.ask(top_up=top_up, amount_cents=2380, by=ada.user))
        ada.fake.do("end_refund", id=ada.fake.all("refund")[0]["id"], status="failed")
        deliver(ada.fake.events("refund.failed")[0])
        assert (ada.cents, house("tax_payable")) == (2500, before)
        # Stripe records the charge, its reversal, and the end of that.
        kinds = [each["type"] for each in ada.fake.all("tax.transaction")]
        assert sorted(kinds) == ["reversal", "transaction", "transaction"]


class TestDisputes:
    def test_one_takes_credit_and_tax_in_their_proportion(self, ada: Payer) -> None:
        top_up = charge(ada, 2000, ada.save_card())
        before = house("tax_payable")
        ada.spend(2500)
        ada.fake.do("dispute", id=top_up.intent_id)
        deliver(ada.fake.events("charge.dispute.created")[0])
        assert claims.debt(workspace_id=ada.workspace.pk) == 2000 * CENT
        assert house("tax_payable") == before - 380
        assert sound()


class TestShown:
    def test_net_tax_and_gross_are_on_the_page_and_in_the_api(self, ada: Payer) -> None:
        top_up = charge(ada, 2000, ada.save_card())
        client = pages.browser(ada.user)
        text = client.get(f"/dashboard/billing/top-ups/{top_up.public_id}").content.decode()
        for each in ("$20.00", "$3.80", "$23.80"):
            assert each in text
        said: dict[str, Any] = client.get(f"/api/v1/top-ups/{top_up.public_id}").json()
        assert (said["amount_usd"], said["tax_usd"], said["total_usd"]) == (
            "20.00",
            "3.80",
            "23.80",
        )
        refund = refunds.ask(top_up=top_up, amount_cents=1190, by=ada.user)
        [said] = client.get(f"/api/v1/top-ups/{top_up.public_id}/refunds").json()["data"]
        assert said["id"] == refund.public_id
        told = (said["amount_usd"], said["credit_usd"], said["tax_usd"])
        assert told == ("11.90", "10.00", "1.90")
