from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from accounts import workspaces
from accounts.models import Tier
from billing import ledger, topups, velocity
from billing.models import Alert
from billing.models_funding import SavedCard, TopUp
from billing.stripe import booking
from billing.tasks import top_up_automatically
from common.errors import ApiError
from tests.billing.stripe import payer
from tests.billing.stripe.payer import Payer
from tests.fakes.stripe.process import GOOD, FakeStripe

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

    def test_pages_opened_first_and_paid_later_stay_below_the_limit(self, ada: Payer) -> None:
        first, second, third = (ada.ask(cents) for cents in (12000, 5000, 9000))
        states = {each["id"]: each["status"] for each in ada.fake.all("checkout.session")}
        assert states[first.session_id] == "expired"
        assert (states[second.session_id], states[third.session_id]) == ("open", "open")
        assert TopUp.objects.get(pk=first.pk).status == TopUp.Status.EXPIRED
        for top_up in (second, third):
            ada.complete(top_up)
            booking.book_session(top_up.session_id or "")
        assert ada.cents == 14000

    def test_a_page_that_was_paid_just_now_is_credited_and_keeps_the_next_closed(
        self, ada: Payer
    ) -> None:
        ada.complete(ada.ask(15000))
        asked = topups.ask(workspace=ada.workspace, amount_cents=9000, by=ada.user)
        with pytest.raises(ApiError, match="within a day"):
            topups.processor().open(top_up=asked)
        assert ada.cents == 15000
        assert len(ada.fake.all("checkout.session")) == 1

    def test_an_automatic_charge_closes_the_page_that_it_has_no_room_beside(
        self, ada: Payer
    ) -> None:
        card = ada.save_card()
        left = ada.ask(19000)
        ada.automatic(card)
        top_up_automatically()
        left.refresh_from_db()
        assert (left.status, ada.cents) == (TopUp.Status.EXPIRED, 1500)

    def test_a_charge_beside_a_page_paid_just_now_is_not_made(self, ada: Payer) -> None:
        card = ada.save_card()
        left = ada.ask(19000)
        top_up = ada.ask(1000, card=card)
        ada.complete(left)
        topups.processor().charge(top_up=top_up)
        top_up.refresh_from_db()
        assert (top_up.failure, ada.cents) == ("daily_limit", 19500)

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


def open_elsewhere(top_up: TopUp) -> str:
    """Open a page on a connection of its own; what was said where it was refused."""
    try:
        topups.processor().open(top_up=top_up)
    except ApiError as refusal:
        return refusal.message
    finally:
        connection.close()
    return ""


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_of_two_pages_opened_at_once_one_is_given_out(self, fake: FakeStripe) -> None:
        ada = payer.payer(fake)
        asked = [
            topups.ask(workspace=ada.workspace, amount_cents=15000, by=ada.user) for _ in range(2)
        ]
        with ThreadPoolExecutor(2) as pool:
            with transaction.atomic():
                ledger.lock_homes(workspace_id=ada.workspace.pk, assets=(ledger.USD,))
                opened = [pool.submit(open_elsewhere, each) for each in asked]
                wait_for_locks(2)
            said = [each.result(timeout=30) for each in opened]
        assert sorted(map(bool, said)) == [False, True]
        assert TopUp.objects.exclude(session_id=None).count() == 1


def wait_for_locks(count: int) -> None:
    """Wait until so many wait for what this transaction has."""
    deadline = time.monotonic() + 30
    with connection.cursor() as cursor:
        while True:
            # The second in a queue waits for the row, the first for the transaction.
            cursor.execute(
                "with waiting as (select distinct pid, pg_blocking_pids(pid) as by from pg_locks"
                " where not granted), first as (select pid from waiting"
                " where pg_backend_pid() = any(by))"
                " select count(*) from waiting where pid in (select pid from first)"
                " or by && array(select pid from first)"
            )
            if cursor.fetchone()[0] >= count:
                return
            assert time.monotonic() < deadline
            time.sleep(0.02)


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
