from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django import Settings

from accounts import workspaces
from accounts.models import Tier
from billing import topups, velocity
from billing.models import Alert
from billing.models_funding import SavedCard, TopUp
from billing.stripe import booking
from billing.tasks import top_up_automatically
from common.errors import ApiError
from tests.billing.stripe import payer
from tests.billing.stripe.payer import Payer
from tests.fakes.stripe.process import GOOD

pytestmark = pytest.mark.django_db


def elsewhere(one: Payer, name: str) -> Payer:
    """Another workspace of the same person."""
    return Payer(one.fake, one.user, workspaces.create(name=name, owner=one.user))


def trust(one: Payer) -> None:
    """Move a workspace out of the tier where everybody begins."""
    known = Tier.objects.get(is_default=True)
    known.pk, known.slug, known.is_default = None, "known", False
    known.save()
    one.workspace.tier = known
    one.workspace.save(update_fields=["tier"])


def pass_by(one: Payer, *, days: int) -> None:
    """Let payments and cards be some days older."""
    for model in (TopUp, SavedCard):
        for row in model.objects.filter(workspace=one.workspace):
            at = row.created_at - timedelta(days=days)
            model.objects.filter(pk=row.pk).update(created_at=at)


class TestCheck:
    def test_a_new_customer_pays_little_on_the_first_day(self, ada: Payer) -> None:
        ada.pay(15000)
        with pytest.raises(ApiError, match="within a day"):
            ada.ask(5001)
        assert ada.ask(5000)

    def test_who_is_known_pays_more(self, ada: Payer) -> None:
        trust(ada)
        ada.pay(15000)
        assert ada.ask(5001)

    def test_what_a_saved_card_is_about_to_be_charged_counts_as_paid(self, ada: Payer) -> None:
        card = ada.save_card()
        ada.ask(15000, card=card)
        with pytest.raises(ApiError, match="within a day"):
            ada.ask(4501, card=card)
        assert ada.ask(4500, card=card)

    def test_many_attempts_are_slowed_down(self, ada: Payer, settings: Settings) -> None:
        settings.TOPUP_ATTEMPTS_PER_HOUR = 2
        ada.ask()
        ada.ask()
        with pytest.raises(ApiError, match="Too many payments") as refusal:
            ada.ask()
        assert refusal.value.headers["retry-after"] == "3600"

    def test_attempts_of_a_person_count_over_all_their_workspaces(
        self, ada: Payer, settings: Settings
    ) -> None:
        settings.TOPUP_ATTEMPTS_PER_HOUR = 2
        ada.ask()
        elsewhere(ada, "Second").ask()
        with pytest.raises(ApiError, match="Too many payments"):
            elsewhere(ada, "Third").ask()
        assert payer.payer(ada.fake, "bob").ask()

    def test_many_new_cards_are_slowed_down_until_the_next_day(self, ada: Payer) -> None:
        for digit in range(3):
            ada.pay(500, f"400000000000000{digit}")
        with pytest.raises(ApiError, match="new cards"):
            ada.ask()
        pass_by(ada, days=1)
        assert ada.ask()

    def test_new_cards_of_a_person_count_over_all_their_workspaces(self, ada: Payer) -> None:
        for digit in range(3):
            elsewhere(ada, f"Shop {digit}").pay(500, f"400000000000000{digit}")
        with pytest.raises(ApiError, match="new cards"):
            ada.ask()

    def test_one_card_pays_for_a_few_new_workspaces_only(self, ada: Payer) -> None:
        names = ("bob", "cyd", "dan")
        first, second, third = (payer.payer(ada.fake, name) for name in names)
        for one in (first, second, third):
            one.pay(500)
        assert not Alert.objects.filter(kind=Alert.Kind.CARD_SHARED).exists()
        # Whose card it is shows when it paid: the money that came is credited.
        ada.pay(500)
        assert ada.cents == 500
        assert Alert.objects.filter(kind=Alert.Kind.CARD_SHARED).count() == 1
        with pytest.raises(ApiError, match="3 new workspaces"):
            ada.ask()
        # Who had it first goes on paying.
        assert third.ask()
        trust(ada)
        assert ada.ask()

    def test_workspaces_of_long_ago_do_not_count(self, ada: Payer, settings: Settings) -> None:
        settings.TOPUP_WORKSPACES_PER_CARD = 1
        bob = payer.payer(ada.fake, "bob")
        bob.pay(500)
        ada.pay(500)
        pass_by(bob, days=31)
        assert ada.ask()

    def test_a_saved_card_that_others_had_first_is_not_charged(
        self, ada: Payer, settings: Settings
    ) -> None:
        settings.TOPUP_WORKSPACES_PER_CARD = 1
        payer.payer(ada.fake, "bob").pay(500)
        card = ada.save_card()
        with pytest.raises(ApiError, match="1 new workspaces"):
            ada.ask(card=card)
        ada.automatic(card)
        top_up_automatically()
        assert not TopUp.objects.filter(method="auto").exists()


class TestCheckSaving:
    def test_many_saved_cards_are_slowed_down(self, ada: Payer) -> None:
        for digit in range(3):
            url = topups.processor().save_card(workspace=ada.workspace)
            session = url.rsplit("/", 1)[-1]
            ada.fake.do("complete", id=session, number=f"400000000000000{digit}")
            booking.book_session(session)
        with pytest.raises(ApiError, match="new cards"):
            topups.processor().save_card(workspace=ada.workspace)


class TestWatch:
    def test_a_payment_without_a_card_says_nothing(self, ada: Payer) -> None:
        velocity.watch(top_up=ada.ask())
        assert not Alert.objects.exists()

    def test_the_same_card_is_told_of_once(self, ada: Payer, settings: Settings) -> None:
        settings.TOPUP_WORKSPACES_PER_CARD = 1
        payer.payer(ada.fake, "bob").pay(500, GOOD)
        first = ada.pay(500, GOOD)
        velocity.watch(top_up=first)
        assert Alert.objects.filter(kind=Alert.Kind.CARD_SHARED).count() == 1
