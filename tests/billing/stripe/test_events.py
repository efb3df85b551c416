from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from billing import topups
from billing.models import Alert, Transfer
from billing.models_funding import AutoTopUp, StripeEvent, TopUp
from billing.stripe import booking, events, polling
from billing.tasks import poll_payments
from tests.billing.stripe import payer
from tests.billing.stripe.payer import Payer, body_of, deliver, sign, sound
from tests.fakes.stripe.process import SECRET, FakeStripe

pytestmark = pytest.mark.django_db


def post(body: bytes, signature: str) -> int:
    """Send a webhook as Stripe does; return the status of the answer."""
    answer = Client().post(
        "/webhooks/stripe", body, "application/json", headers={"stripe-signature": signature}
    )
    return int(answer.status_code)


def break_one(one: Payer) -> tuple[TopUp, TopUp]:
    """Two payments on pages: the ledger has another amount of the first, as nobody expects."""
    bad, good = one.ask(1000), one.ask(1500)
    for top_up in (bad, good):
        one.complete(top_up)
    [broken] = [each for each in one.fake.all("payment_intent") if each["amount"] == 1000]
    topups.credit_once(
        topups.Income(
            workspace_id=one.workspace.pk,
            kind=booking.KIND,
            source=topups.source_of(broken["id"]),
            house=booking.HOUSE,
            amount=1,
        )
    )
    return bad, good


class TestReceive:
    @pytest.fixture
    def body(self, ada: Payer) -> bytes:
        """The event of a payment that is not booked."""
        ada.complete(ada.ask())
        return body_of(ada.fake.events("checkout.session.completed")[0])

    def test_an_event_is_stored_before_it_is_answered_and_booked_later(self, body: bytes) -> None:
        assert post(body, sign(body)) == 200
        event = StripeEvent.objects.get()
        assert event.outcome == StripeEvent.Outcome.WAITING
        assert not Transfer.objects.exists()
        assert events.book(event_id=event.pk)
        assert Transfer.objects.count() == 1

    def test_the_same_event_again_changes_nothing(self, body: bytes) -> None:
        for _ in range(3):
            assert post(body, sign(body)) == 200
            events.book(event_id=StripeEvent.objects.get().pk)
        assert Transfer.objects.count() == 1

    def test_a_replay_with_another_event_id_changes_nothing(self, ada: Payer, body: bytes) -> None:
        event = ada.fake.events("checkout.session.completed")[0]
        assert deliver(event)
        assert deliver(event | {"id": "evt_other"})
        assert ada.cents == 2000

    @pytest.mark.parametrize("shift", [-400, 400, 3600])
    def test_what_was_not_signed_just_now_is_refused(self, body: bytes, shift: int) -> None:
        assert post(body, sign(body, at=int(time.time()) + shift)) == 400
        assert not StripeEvent.objects.exists()

    def test_what_was_changed_after_signing_is_refused(self, body: bytes) -> None:
        assert post(body.replace(b"2000", b"9000"), sign(body)) == 400

    def test_what_was_written_anew_after_signing_is_refused(self, body: bytes) -> None:
        assert post(json.dumps(json.loads(body), indent=1).encode(), sign(body)) == 400

    @pytest.mark.parametrize("signature", ["", "t=1", "v1=x", "t=now,v1=x", "\x7f", "t=1,v1=\xe9"])
    def test_what_is_not_signed_is_refused(self, body: bytes, signature: str) -> None:
        assert post(body, signature) == 400

    def test_what_another_signed_is_refused(self, body: bytes) -> None:
        assert post(body, sign(body, secret="whsec_other")) == 400

    def test_signed_nonsense_is_refused(self, ada: Payer) -> None:
        for body in (b"", b"[]", b'{"id": 1}', b"\x00", b'{"data": {"object": 1}}'):
            assert post(body, sign(body)) == 400

    def test_either_secret_is_good_while_one_replaces_the_other(
        self, body: bytes, settings: Settings
    ) -> None:
        settings.STRIPE_WEBHOOK_SECRETS = ["whsec_new", SECRET]
        assert post(body, sign(body)) == 200
        assert post(body, sign(body, secret="whsec_new")) == 200

    def test_without_a_secret_there_is_no_endpoint(self, body: bytes, settings: Settings) -> None:
        settings.STRIPE_WEBHOOK_SECRETS = []
        assert post(body, sign(body, secret="x")) == 404

    def test_an_event_of_the_other_mode_means_nothing(self, ada: Payer, body: bytes) -> None:
        event = ada.fake.events("checkout.session.completed")[0]
        assert deliver(event | {"livemode": True})
        assert StripeEvent.objects.get().outcome == StripeEvent.Outcome.IGNORED
        assert ada.cents == 0

    def test_a_tests_event_means_nothing_where_money_is_real(
        self, ada: Payer, body: bytes, settings: Settings
    ) -> None:
        settings.STRIPE_SECRET_KEY = "sk_live_real"
        assert deliver(ada.fake.events("checkout.session.completed")[0])
        assert StripeEvent.objects.get().outcome == StripeEvent.Outcome.IGNORED
        assert ada.cents == 0

    def test_a_name_that_no_database_keeps_is_stored_without(self, ada: Payer, body: bytes) -> None:
        event = ada.fake.events("checkout.session.completed")[0]
        event["data"]["object"]["customer_details"] = {"name": "a\0b\\u0000"}
        written = body_of(event)
        assert post(written, sign(written)) == 200
        stored = StripeEvent.objects.get().body["data"]["object"]["customer_details"]
        assert stored == {"name": "ab\\u0000"}
        StripeEvent.objects.all().delete()
        ada.fake.do("change", id=event["id"], facts={"data": event["data"]})
        assert event["id"] in events.fetch_missed()

    def test_an_event_of_no_interest_is_kept_and_not_booked(self, ada: Payer, body: bytes) -> None:
        event = ada.fake.events("checkout.session.completed")[0]
        deliver(event | {"id": "evt_x", "type": "product.created"})
        assert StripeEvent.objects.get().outcome == StripeEvent.Outcome.IGNORED


class TestBook:
    def test_the_order_of_events_does_not_matter(self, ada: Payer) -> None:
        ada.complete(ada.ask())
        intent = ada.fake.all("payment_intent")[0]["id"]
        ada.fake.do("refund", id=intent, amount=500)
        for event in reversed(ada.fake.events()):
            deliver(event)
        assert ada.cents == 2000
        # What was told of the refund came before its payment: it waited.
        waiting = StripeEvent.objects.filter(outcome=StripeEvent.Outcome.WAITING)
        assert {event.kind for event in waiting} == {"refund.created", "charge.refunded"}
        assert all(events.book(event_id=event.pk) for event in waiting)
        assert ada.cents == 1500
        assert sound()

    def test_a_dispute_told_before_its_payment_waits_for_it(self, ada: Payer) -> None:
        top_up = ada.ask()
        ada.complete(top_up)
        intent = ada.fake.all("payment_intent")[0]["id"]
        ada.fake.do("dispute", id=intent)
        [dispute] = ada.fake.events("charge.dispute.created")
        assert not deliver(dispute)
        assert not ada.frozen
        deliver(ada.fake.events("checkout.session.completed")[0])
        assert events.book(event_id=dispute["id"])
        assert (ada.cents, ada.frozen) == (0, True)
        assert sound()

    def test_what_comes_while_a_key_is_replaced_is_booked_with_the_new_one(
        self, ada: Payer, settings: Settings
    ) -> None:
        ada.complete(ada.ask())
        ada.fake.do("knobs", key="sk_test_new")
        [event] = ada.fake.events("checkout.session.completed")
        assert not deliver(event)
        settings.STRIPE_SECRET_KEY = "sk_test_new"
        assert events.book(event_id=event["id"])
        assert ada.cents == 2000

    def test_what_has_to_wait_is_told_to_operators_in_the_end(self, ada: Payer) -> None:
        intent = ada.fake.do("stray", amount=700, currency="usd")
        dispute = ada.fake.do("dispute", id=intent["id"])
        event = ada.fake.events("charge.dispute.created")[0]
        assert dispute["id"]
        for _ in range(events.WORRYING):
            assert not deliver(event)
        assert StripeEvent.objects.get().attempts == events.WORRYING


class TestForgetOld:
    LATER = timedelta(days=31)

    @pytest.fixture
    def told(self, ada: Payer) -> dict[str, Any]:
        """The event of a payment that is on its page, delivered and not booked."""
        ada.complete(ada.ask())
        event: dict[str, Any] = ada.fake.events("checkout.session.completed")[0]
        assert post(body_of(event), sign(body_of(event))) == 200
        return event

    def test_what_was_booked_is_emptied_after_its_time(self, told: dict[str, Any]) -> None:
        assert events.book(event_id=told["id"])
        assert events.forget_old(now=timezone.now() + timedelta(days=29)) == 0
        assert StripeEvent.objects.get().body == told
        assert events.forget_old(now=timezone.now() + self.LATER) == 1
        assert StripeEvent.objects.get().body is None
        assert events.forget_old(now=timezone.now() + self.LATER) == 0

    def test_an_emptied_event_that_comes_again_changes_nothing(
        self, ada: Payer, told: dict[str, Any]
    ) -> None:
        events.book(event_id=told["id"])
        events.forget_old(now=timezone.now() + self.LATER)
        assert post(body_of(told), sign(body_of(told))) == 200
        assert events.book(event_id=told["id"])
        event = StripeEvent.objects.get()
        assert (event.outcome, event.attempts, event.body) == ("booked", 1, None)
        assert (ada.cents, Transfer.objects.count()) == (2000, 1)

    def test_what_waits_to_be_booked_is_kept_and_booked(
        self, ada: Payer, told: dict[str, Any]
    ) -> None:
        assert events.forget_old(now=timezone.now() + self.LATER) == 0
        assert StripeEvent.objects.get().body == told
        assert events.book(event_id=told["id"])
        assert ada.cents == 2000

    def test_what_was_of_no_interest_is_emptied_too(self, told: dict[str, Any]) -> None:
        body = body_of(told | {"id": "evt_x", "type": "product.created"})
        post(body, sign(body))
        events.forget_old(now=timezone.now() + self.LATER)
        assert StripeEvent.objects.get(pk="evt_x").body is None

    def test_it_empties_the_oldest_first_some_at_a_time(
        self, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "MOST_EMPTIED", 1)
        events.book(event_id=told["id"])
        body = body_of(told | {"id": "evt_newer"})
        post(body, sign(body))
        events.book(event_id="evt_newer")
        assert events.forget_old(now=timezone.now() + self.LATER) == 1
        assert StripeEvent.objects.get(body__isnull=True).pk == told["id"]

    def test_beat_has_it_done(self, told: dict[str, Any]) -> None:
        events.book(event_id=told["id"])
        StripeEvent.objects.update(received_at=timezone.now() - self.LATER)
        [task] = [
            each["task"]
            for each in settings.CELERY_BEAT_SCHEDULE.values()
            if each["task"].endswith("forget_stripe_events")
        ]
        current_app.tasks[task].apply()
        assert StripeEvent.objects.get().body is None


class TestPolling:
    def test_a_payment_of_which_no_event_came_is_found(self, ada: Payer) -> None:
        ada.complete(ada.ask())
        poll_payments()
        assert ada.cents == 2000

    def test_pages_that_nobody_pays_keep_no_other_payment_waiting(
        self, ada: Payer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(polling, "MOST", 1)
        ada.ask()
        ada.complete(ada.ask(1500))
        now = timezone.now()
        for minutes in (3, 6):
            polling.open_payments(now=now + timedelta(minutes=minutes))
        assert ada.cents == 1500

    def test_an_event_that_breaks_its_booking_keeps_no_other_waiting(self, ada: Payer) -> None:
        bad, good = break_one(ada)
        poll_payments()
        assert TopUp.objects.get(pk=good.pk).status == TopUp.Status.PAID
        [event] = StripeEvent.objects.filter(kind__startswith="checkout", outcome="waiting")
        assert (event.failure, event.attempts) == ("Conflict", 1)
        assert Alert.objects.filter(kind=Alert.Kind.PAYMENT_UNMATCHED, subject=event.pk).exists()
        assert TopUp.objects.get(pk=bad.pk).status == TopUp.Status.PENDING

    def test_a_payment_that_breaks_its_booking_keeps_no_other_waiting(self, ada: Payer) -> None:
        bad, good = break_one(ada)
        assert polling.open_payments(now=timezone.now()) == 1
        assert TopUp.objects.get(pk=good.pk).status == TopUp.Status.PAID
        [told] = Alert.objects.filter(kind=Alert.Kind.PAYMENT_UNMATCHED)
        assert (told.subject, told.facts["why"]) == (bad.public_id, "Conflict")

    def test_events_that_stripe_could_not_deliver_are_fetched(self, ada: Payer) -> None:
        top_up = ada.pay()
        ada.fake.do("dispute", id=top_up.intent_id)
        poll_payments()
        assert ada.frozen

    def test_more_of_them_than_stripe_tells_at_once_are_fetched_too(self, ada: Payer) -> None:
        ada.fake.do("knobs", page=2)
        ada.fake.do("dispute", id=ada.pay().intent_id)
        ada.pay(1500)
        told = {event["id"] for event in ada.fake.events()}
        assert len(told) == 5
        assert set(events.fetch_missed()) == told
        assert events.fetch_missed() == []
        ada.fake.do("dispute", id=TopUp.objects.latest("id").intent_id)
        assert len(events.fetch_missed()) == 1


def start() -> subprocess.Popen[str]:
    """Somebody who delivers, each event in a process of its own."""
    database = settings.DATABASES["default"]
    account = f"{database['USER']}:{database['PASSWORD']}"
    url = f"postgres://{account}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    given = {
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "CRITICAL",
        "PYTHONPATH": str(settings.BASE_DIR / "platform"),
        "STRIPE_API_BASE": settings.STRIPE_API_BASE,
        "STRIPE_SECRET_KEY": settings.STRIPE_SECRET_KEY,
        "STRIPE_WEBHOOK_SECRETS": ",".join(settings.STRIPE_WEBHOOK_SECRETS),
    }
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.billing.stripe.deliverer"],
        cwd=settings.BASE_DIR,
        env={**os.environ, **given},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def delivery(event: dict[str, Any], *, crash: int | str | None = None) -> dict[str, Any]:
    """One delivery of an event, and when its process crashes."""
    body = body_of(event)
    return {"body": body.decode(), "signature": sign(body), "crash": crash}


def waits_for_a_lock() -> bool:
    """Whether somebody waits for what this connection has; other databases have their own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select exists (select from pg_locks"
            " where not granted and pg_backend_pid() = any(pg_blocking_pids(pid)))"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_200_deliveries_with_crashes_book_each_payment_once(
        self, fake: FakeStripe, settings: Settings
    ) -> None:
        settings.TOPUP_ATTEMPTS_PER_HOUR = 100
        ada = payer.payer(fake)
        asked = [ada.ask(500 + n) for n in range(10)]
        for top_up in asked:
            ada.complete(top_up)
        told = fake.events("checkout.session.completed", "payment_intent.succeeded")
        assert len(told) == 20
        chance = random.Random(6)
        # Of ten deliveries of an event three crash before it is booked and two anywhere.
        wanted = [
            delivery(event, crash=crash)
            for event in told
            for crash in (*("stored",) * 3, *chance.sample(range(80), 2), *(None,) * 5)
        ]
        chance.shuffle(wanted)
        with start() as process:
            said, _ = process.communicate(json.dumps({"deliveries": wanted, "at_once": 8}))
        assert process.returncode == 0
        assert json.loads(said)["killed"] >= 60
        poll_payments()
        assert ada.cents == sum(top_up.amount_cents for top_up in asked)
        assert Transfer.objects.filter(kind="top_up").count() == 10
        assert not StripeEvent.objects.filter(outcome=StripeEvent.Outcome.WAITING).exists()
        assert sound()

    def test_a_crash_in_the_middle_of_booking_leaves_nothing_half(self, fake: FakeStripe) -> None:
        ada = payer.payer(fake)
        # What is written last, after the money: somebody else holds it until the crash.
        wishes = AutoTopUp.objects.create(
            workspace=ada.workspace, threshold_nanos=1, amount_cents=500, monthly_limit_cents=500
        )
        top_up = ada.ask()
        ada.complete(top_up)
        [event] = fake.events("checkout.session.completed")
        with start() as process, transaction.atomic():
            AutoTopUp.objects.select_for_update().get(pk=wishes.pk)
            assert process.stdin is not None
            process.stdin.write(json.dumps({"deliveries": [delivery(event)], "at_once": 1}))
            process.stdin.close()
            # The process imports everything first.
            deadline = time.monotonic() + 90
            while not waits_for_a_lock():
                assert time.monotonic() < deadline, "the booking never came so far"
                time.sleep(0.02)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            os.kill(int(children), signal.SIGKILL)
            process.wait(30)
        assert not Transfer.objects.exists()
        assert TopUp.objects.get().status == TopUp.Status.PENDING
        poll_payments()
        assert TopUp.objects.get().status == TopUp.Status.PAID
        assert ada.cents == 2000
        assert sound()
