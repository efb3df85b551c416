"""Events reach endpoints: signed, once per attempt, again after failures, and in the end not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis
from django.core import mail
from django.db import connections, transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings
from standardwebhooks import Webhook

from accounts import (
    egress,
    keys,
    tasks,
    webhookdeliveries,
    webhookevents,
    webhookmail,
    webhooks,
    workspaces,
)
from accounts.errors import ForeignWorkspace, Invalid
from accounts.models import (
    ApiKey,
    AuditEvent,
    User,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    Workspace,
)
from common import ids
from tests.fakes.receiver import Receiver

ALL_KEYS = ("key.created", "key.rotated", "key.disabled")


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    made = Receiver()
    settings.WEBHOOK_ALLOWED_TARGETS = [f"127.0.0.1:{made.port}"]
    yield made
    made.stop()


@pytest.fixture
def made(alice: User, home: Workspace, receiver: Receiver) -> tuple[WebhookEndpoint, str]:
    """Alice's endpoint and its secret."""
    return webhooks.create(workspace=home, url=receiver.url, events=ALL_KEYS, by=alice)


@pytest.fixture
def endpoint(made: tuple[WebhookEndpoint, str]) -> WebhookEndpoint:
    return made[0]


def new_key(owner: User, place: Workspace) -> ApiKey:
    return keys.create(name="k", workspaces=[place], user=owner, scopes=["chat"], by=owner)[0]


def only() -> WebhookDelivery:
    """The one delivery there is."""
    return WebhookDelivery.objects.select_related("event", "endpoint").get()


def make_due() -> None:
    """Let the wait before the next attempt be over."""
    WebhookDelivery.objects.update(next_at=timezone.now() - timedelta(seconds=1))


def attempt() -> webhookdeliveries.Outcome | None:
    """Attempt the one delivery there is, due or not."""
    make_due()
    return webhookdeliveries.attempt(delivery_id=only().pk)


class TestEvents:
    def test_a_new_key_is_told_in_the_transaction_that_makes_it(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        key = new_key(alice, home)

        told = json.loads(only().event.body)
        assert list(told) == ["id", "type", "timestamp", "workspace_id", "data"]
        assert (told["type"], told["workspace_id"]) == ("key.created", home.public_id)
        assert told["data"]["id"] == key.public_id
        assert told["id"] == only().event.public_id

    def test_what_is_rolled_back_is_not_told(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        with transaction.atomic():
            new_key(alice, home)
            assert WebhookEvent.objects.count() == 1
            transaction.set_rollback(True)

        assert WebhookEvent.objects.count() == 0

    def test_a_key_is_told_when_it_is_rotated_and_once_when_it_is_disabled(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        old = new_key(alice, home)
        new, text = keys.rotate(key=old, overlap=timedelta(hours=1), by=alice)
        keys.disable(key=new, by=alice)
        keys.disable(key=new, by=alice)

        events = WebhookEvent.objects.order_by("id")
        assert [event.kind for event in events] == ["key.created", "key.rotated", "key.disabled"]
        rotated = json.loads(events[1].body)["data"]
        assert (rotated["id"], rotated["replaces"]) == (new.public_id, old.public_id)
        assert not [event for event in events if text in event.body]

    def test_nobody_is_told_of_what_is_not_theirs_or_not_wanted(
        self, alice: User, home: Workspace, bob: User, away: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        new_key(bob, away)
        webhooks.update(endpoint=endpoint, by=alice, events=["key.disabled"])
        new_key(alice, home)
        webhooks.update(endpoint=endpoint, by=alice, events=ALL_KEYS, enabled=False)
        new_key(alice, home)

        assert WebhookEvent.objects.count() == 0

    def test_an_event_outside_its_cause_is_refused(self, transactional_db: None) -> None:
        with pytest.raises(RuntimeError, match="transaction of its cause"):
            webhookevents.tell(workspace_id=1, kind="key.created", facts={})

    def test_requests_have_the_id_that_the_gateway_gives_them(self, db: None) -> None:
        for _ in range(20):
            one = ids.request_id()
            with connections["default"].cursor() as cursor:
                cursor.execute("select accounts_request_form('gen_', %s)", [one])
                assert cursor.fetchone() == (ids.form("gen_", one),)

    def test_old_events_are_forgotten_with_their_deliveries(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        new_key(alice, home)
        new_key(alice, home)
        first = WebhookEvent.objects.order_by("id").first()
        assert first is not None
        long_ago = timezone.now() - webhookevents.KEPT_FOR - timedelta(minutes=1)
        WebhookEvent.objects.filter(pk=first.pk).update(created_at=long_ago)

        assert tasks.forget_webhooks() == 1
        assert only().event_id != first.pk


class TestAttempt:
    def test_what_arrives_is_proved_by_the_library_of_the_standard(
        self, alice: User, home: Workspace, made: tuple[WebhookEndpoint, str], receiver: Receiver
    ) -> None:
        new_key(alice, home)

        outcome = attempt()

        assert outcome is not None
        assert outcome.good
        headers, body = receiver.requests[0]
        assert Webhook(made[1]).verify(body, headers)["type"] == "key.created"
        assert headers["webhook-id"] == only().event.public_id
        assert headers["content-type"] == "application/json"
        with pytest.raises(Exception, match="No matching signature"):
            Webhook(made[1]).verify(body.replace(b"key", b"kez"), headers)

    def test_during_a_rotation_both_secrets_prove_it_and_afterwards_the_new_one(
        self, alice: User, home: Workspace, made: tuple[WebhookEndpoint, str], receiver: Receiver
    ) -> None:
        endpoint, old = made
        _, new = webhooks.rotate_secret(endpoint=endpoint, by=alice)
        new_key(alice, home)
        attempt()
        headers, body = receiver.requests[0]
        assert Webhook(old).verify(body, headers) == Webhook(new).verify(body, headers)

        WebhookEndpoint.objects.update(old_until=timezone.now())
        webhookdeliveries.resend(delivery=only(), by=alice)
        attempt()
        headers, body = receiver.requests[1]
        Webhook(new).verify(body, headers)
        with pytest.raises(Exception, match="No matching signature"):
            Webhook(old).verify(body, headers)

    def test_a_success_ends_it_and_is_logged(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint, receiver: Receiver
    ) -> None:
        new_key(alice, home)
        attempt()

        done = only()
        assert (done.status, done.code, done.attempts, done.error) == ("delivered", 200, 1, "")
        assert done.ended_at is not None
        assert done.log[0]["code"] == 200
        assert attempt() is None
        assert len(receiver.requests) == 1

    @pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
    def test_anything_but_success_is_tried_again_later(
        self,
        alice: User,
        home: Workspace,
        endpoint: WebhookEndpoint,
        receiver: Receiver,
        status: int,
    ) -> None:
        receiver.status = status
        new_key(alice, home)
        before = timezone.now()
        attempt()
        after = timezone.now()

        waiting = only()
        assert (waiting.status, waiting.code) == ("pending", status)
        assert before + timedelta(seconds=5) <= waiting.next_at <= after + timedelta(seconds=6)
        # However long it took to come here: it is not due yet.
        WebhookDelivery.objects.update(next_at=timezone.now() + timedelta(minutes=1))
        assert webhookdeliveries.attempt(delivery_id=waiting.pk) is None
        assert len(receiver.requests) == 1

    def test_it_is_given_up_after_the_last_try_and_a_resend_begins_anew(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint, receiver: Receiver
    ) -> None:
        receiver.status = 500
        new_key(alice, home)
        for _ in range(webhookdeliveries.TRIES):
            attempt()
        assert only().status == "failed"
        assert attempt() is None
        assert len(receiver.requests) == len(only().log) == webhookdeliveries.TRIES

        receiver.status = 200
        webhookdeliveries.resend(delivery=only(), by=alice)
        attempt()

        assert only().status == "delivered"
        assert {body for _, body in receiver.requests} == {only().event.body.encode()}
        assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 1

    def test_nothing_is_sent_to_a_name_that_leads_home(
        self, alice: User, home: Workspace, receiver: Receiver
    ) -> None:
        webhooks.create(
            workspace=home, url="https://rebound.example.com/", events=ALL_KEYS, by=alice
        )
        new_key(alice, home)

        outcome = webhookdeliveries.attempt(
            delivery_id=only().pk, resolve=lambda _host, _port: ["127.0.0.1"]
        )

        assert outcome is not None
        assert outcome.error == str(egress.NotPublic())
        assert receiver.requests == []

    def test_a_secret_that_cannot_be_read_sends_nothing(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint, receiver: Receiver
    ) -> None:
        WebhookEndpoint.objects.update(sealed_key_id="lost")
        new_key(alice, home)
        attempt()

        assert "rotate it" in only().error
        assert receiver.requests == []

    def test_what_was_noted_while_its_endpoint_was_disabled_is_dropped(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint, receiver: Receiver
    ) -> None:
        new_key(alice, home)
        WebhookEndpoint.objects.update(disabled_at=timezone.now(), stopped="person")

        assert attempt() is None
        assert only().status == "dropped"
        assert receiver.requests == []

    def test_nothing_is_sent_for_a_workspace_that_is_closed(
        self, alice: User, receiver: Receiver
    ) -> None:
        place = workspaces.create(owner=alice, name="Shop", by=alice)
        webhooks.create(workspace=place, url=receiver.url, events=ALL_KEYS, by=alice)
        new_key(alice, place)
        Workspace.objects.filter(pk=place.pk).update(closed_at=timezone.now())

        assert attempt() is None
        assert only().status == "dropped"


class TestWorkers:
    def test_two_at_once_attempt_it_once(
        self, transactional_db: None, alice: User, home: Workspace, receiver: Receiver
    ) -> None:
        webhooks.create(workspace=home, url=receiver.url, events=ALL_KEYS, by=alice)
        new_key(alice, home)
        pk = only().pk
        receiver.hold = threading.Event()
        threading.Timer(0.5, receiver.hold.set).start()

        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(_attempt_in_thread, [pk] * 6))

        assert [each.good for each in found if each] == [True]
        assert len(receiver.requests) == 1
        assert only().attempts == 1

    def test_one_that_died_is_replaced_when_its_claim_runs_out(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint, receiver: Receiver
    ) -> None:
        new_key(alice, home)
        assert webhookdeliveries.claim(delivery_id=only().pk)
        assert webhookdeliveries.due() == []
        assert webhookdeliveries.attempt(delivery_id=only().pk) is None

        WebhookDelivery.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
        assert webhookdeliveries.due() == [only().pk]
        assert attempt() is not None
        assert only().attempts == 2

    def test_one_that_comes_back_late_writes_nothing(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        new_key(alice, home)
        late = webhookdeliveries.claim(delivery_id=only().pk)
        assert late is not None
        WebhookDelivery.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
        attempt()

        outcome = webhookdeliveries.Outcome(error="late")
        assert not webhookdeliveries._finish(late, outcome)
        assert only().status == "delivered"

    def test_a_slow_endpoint_has_few_attempts_at_once_and_others_go_on(
        self, alice: User, home: Workspace, bob: User, away: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        most = webhookdeliveries.AT_ONCE
        for _ in range(most + 3):
            new_key(alice, home)
        webhooks.create(workspace=away, url=endpoint.url, events=ALL_KEYS, by=bob)
        new_key(bob, away)
        theirs = WebhookDelivery.objects.exclude(endpoint=endpoint).get()

        due = webhookdeliveries.due()
        assert len(due) == most + 1
        assert theirs.pk in due
        claimed = [
            webhookdeliveries.claim(delivery_id=pk)
            for pk in WebhookDelivery.objects.order_by("id").values_list("pk", flat=True)
        ]
        assert len([each for each in claimed if each]) == most + 1
        assert claimed[-1] is not None


class TestTasks:
    def test_each_delivery_that_is_due_becomes_a_task_that_attempts_it(
        self,
        alice: User,
        home: Workspace,
        endpoint: WebhookEndpoint,
        receiver: Receiver,
        redis_server: redis.Redis,
    ) -> None:
        new_key(alice, home)
        tasks.deliver_webhooks()

        queued = json.loads(redis_server.lrange("celery", 0, -1)[0])
        assert queued["headers"]["task"] == "accounts.tasks.deliver_webhook"
        assert queued["headers"]["argsrepr"] == f"({only().pk},)"
        tasks.deliver_webhook(only().pk)
        assert only().status == "delivered"

    def test_a_commit_wakes_a_worker(
        self,
        alice: User,
        home: Workspace,
        endpoint: WebhookEndpoint,
        redis_server: redis.Redis,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            new_key(alice, home)
            assert redis_server.llen("celery") == 0

        queued = json.loads(redis_server.lrange("celery", 0, -1)[0])
        assert queued["headers"]["task"] == webhookevents.TASK


def _attempt_in_thread(pk: int) -> webhookdeliveries.Outcome | None:
    try:
        return webhookdeliveries.attempt(delivery_id=pk)
    finally:
        connections.close_all()


class TestStopping:
    @pytest.fixture
    def failing(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint, receiver: Receiver
    ) -> WebhookEndpoint:
        """An endpoint that has failed for days, with a delivery before its last try."""
        receiver.status = 500
        new_key(alice, home)
        WebhookDelivery.objects.update(tries=webhookdeliveries.TRIES - 1)
        since = timezone.now() - webhookdeliveries.FAILING_FOR - timedelta(minutes=1)
        WebhookEndpoint.objects.update(failing_since=since)
        return endpoint

    def test_an_endpoint_that_failed_for_days_is_disabled_and_its_people_are_told_once(
        self, failing: WebhookEndpoint, alice: User
    ) -> None:
        attempt()

        failing.refresh_from_db()
        assert (failing.stopped, failing.disabled_at is None) == ("failing", False)
        assert AuditEvent.objects.filter(action="webhook.stopped").count() == 1
        assert (webhookmail.tell(), webhookmail.tell()) == (1, 0)
        assert [message.to for message in mail.outbox] == [[alice.email]]
        assert failing.url in mail.outbox[0].body
        assert f"/dashboard/settings/webhooks/{failing.public_id}" in mail.outbox[0].body

    def test_a_success_in_between_starts_the_days_anew(
        self, failing: WebhookEndpoint, alice: User, home: Workspace, receiver: Receiver
    ) -> None:
        receiver.status = 200
        attempt()
        failing.refresh_from_db()
        assert failing.failing_since is None

        receiver.status = 500
        webhookdeliveries.resend(delivery=only(), by=alice)
        WebhookDelivery.objects.update(tries=webhookdeliveries.TRIES - 1)
        attempt()
        failing.refresh_from_db()
        assert failing.disabled_at is None
        assert failing.failing_since is not None

    def test_one_that_says_it_is_gone_is_disabled_at_once(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint, receiver: Receiver
    ) -> None:
        receiver.status = 410
        new_key(alice, home)
        new_key(alice, home)
        webhookdeliveries.attempt(delivery_id=webhookdeliveries.due()[0])

        endpoint.refresh_from_db()
        assert endpoint.stopped == "gone"
        found = WebhookDelivery.objects.values_list("status", flat=True)
        assert sorted(found) == ["dropped", "failed"]

    def test_a_test_that_fails_is_tried_once_and_disables_nothing(
        self, alice: User, failing: WebhookEndpoint
    ) -> None:
        WebhookDelivery.objects.all().delete()
        webhooks.send_test(endpoint=failing, by=alice)
        attempt()

        assert only().status == "failed"
        failing.refresh_from_db()
        assert failing.disabled_at is None


class TestResend:
    def test_needs_the_right_and_an_endpoint_that_is_enabled(
        self, alice: User, bob: User, home: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        new_key(alice, home)
        with pytest.raises(ForeignWorkspace):
            webhookdeliveries.resend(delivery=only(), by=bob)
        webhooks.update(endpoint=endpoint, by=alice, enabled=False)
        with pytest.raises(Invalid, match="enable it first"):
            webhookdeliveries.resend(delivery=only(), by=alice)

    def test_asked_twice_it_is_sent_once(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint, receiver: Receiver
    ) -> None:
        new_key(alice, home)
        attempt()
        webhookdeliveries.resend(delivery=only(), by=alice)
        webhookdeliveries.resend(delivery=only(), by=alice)
        attempt()

        assert attempt() is None
        assert len(receiver.requests) == 2


class TestDelay:
    def test_waits_grow_from_seconds_to_a_day_and_never_fall_together(self) -> None:
        waits = [webhookdeliveries.delay_s(tries=number) for number in range(1, 9)]

        for wait, least in zip(waits, webhookdeliveries.DELAYS_S, strict=True):
            assert least <= wait <= least * 1.2
        assert len({webhookdeliveries.delay_s(tries=5) for _ in range(50)}) > 40
