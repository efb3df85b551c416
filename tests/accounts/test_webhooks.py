"""Endpoints of webhooks: who may make them, what is kept of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import audit, webhooks, webhooksigning
from accounts.errors import Conflict, Forbidden, ForeignWorkspace, Invalid
from accounts.models import AuditEvent, User, WebhookDelivery, WebhookEndpoint, Workspace

URL = "https://hooks.example.com/in"
EVENTS = ["key.created", "topup.succeeded"]


@pytest.fixture
def endpoint(alice: User, home: Workspace) -> WebhookEndpoint:
    return webhooks.create(workspace=home, url=URL, events=EVENTS, by=alice)[0]


class TestCreate:
    def test_the_secret_is_given_once_and_kept_sealed(self, alice: User, home: Workspace) -> None:
        made, secret = webhooks.create(workspace=home, url=URL, events=EVENTS, by=alice)

        assert secret.startswith(webhooksigning.PREFIX)
        assert secret.encode() not in bytes(made.sealed)
        assert webhooks.secrets_of(made, now=timezone.now()) == [secret]
        event = AuditEvent.objects.get(action="webhook.created")
        assert event.target == made.public_id
        assert secret not in str(event.after)

    @pytest.mark.parametrize(
        ("url", "events", "param"),
        [
            ("https://127.0.0.1/", EVENTS, "url"),
            ("http://hooks.example.com/", EVENTS, "url"),
            (URL, [], "events"),
            (URL, ["webhook.test"], "events"),
            (URL, ["everything"], "events"),
        ],
    )
    def test_what_nothing_is_sent_to_or_about_is_refused(
        self, alice: User, home: Workspace, url: str, events: list[str], param: str
    ) -> None:
        with pytest.raises(Invalid) as refusal:
            webhooks.create(workspace=home, url=url, events=events, by=alice)
        assert refusal.value.param == param

    def test_a_workspace_has_only_so_many(
        self, alice: User, home: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhooks, "MOST", 2)
        for _ in range(2):
            webhooks.create(workspace=home, url=URL, events=EVENTS, by=alice)

        with pytest.raises(Invalid, match="at most 2"):
            webhooks.create(workspace=home, url=URL, events=EVENTS, by=alice)

    @pytest.mark.parametrize("role", ["developer", "billing", "viewer"])
    def test_only_who_manages_webhooks_may(
        self,
        bob: User,
        home: Workspace,
        join: Callable[[User, Workspace, str], None],
        role: str,
    ) -> None:
        with pytest.raises(ForeignWorkspace):
            webhooks.create(workspace=home, url=URL, events=EVENTS, by=bob)
        join(bob, home, role)
        with pytest.raises(Forbidden):
            webhooks.create(workspace=home, url=URL, events=EVENTS, by=bob)


class TestTheAuditLog:
    @pytest.mark.parametrize("place", ["in?token=t0k3n", "services/T0/B0/t0k3n"])
    def test_has_neither_path_nor_query_of_a_url(
        self, alice: User, home: Workspace, place: str
    ) -> None:
        first, second = (f"https://hooks.example.com/{place}-{n}" for n in (1, 2))
        made, _ = webhooks.create(workspace=home, url=first, events=EVENTS, by=alice)
        webhooks.update(endpoint=made, by=alice, url=second)
        webhooks.delete(endpoint=made, by=alice)

        events = AuditEvent.objects.filter(target=made.public_id).order_by("id")
        said = [f"{event.target_name} {event.before} {event.after}" for event in events]
        assert len(said) == 3, "another path or query is a change"
        assert "t0k3n" not in "".join(said)
        assert events[1].target_name == "https://hooks.example.com/***"

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("https://me:pass@host/path", "https://***@host/***"),
            ("HTTP://me@host?a=b#c", "HTTP://***@host/***"),
            ("https://host/path@home", "https://host/***"),
            ("see https://h/?k=1 and me@host.example?", "see https://h/*** and me@host.example?"),
            ("wss://u:p@node.example:8546", "wss://***@node.example:8546"),
            ("https://host", "https://host"),
            ("https://host/", "https://host/"),
        ],
    )
    def test_has_no_secrets_of_urls_however_deep(
        self, home: Workspace, text: str, kept: str
    ) -> None:
        where, target = [home], audit.Target("x_1", text)
        facts = {"url": text, "all": [text, {"one": text}], "both": {text}}
        audit.record(action="x", by=None, target=target, workspaces=where, after=facts)

        event = AuditEvent.objects.get(target="x_1")
        shown = {"url": kept, "all": [kept, {"one": kept}], "both": [kept]}
        assert (event.target_name, event.after) == (kept, shown)


class TestUpdate:
    def test_a_change_to_an_old_version_is_a_conflict(
        self, alice: User, endpoint: WebhookEndpoint
    ) -> None:
        seen = webhooks.version(endpoint)
        changed = webhooks.update(endpoint=endpoint, by=alice, events=["key.created"], version=seen)
        assert changed.events == ["key.created"]

        with pytest.raises(Conflict):
            webhooks.update(endpoint=endpoint, by=alice, url=URL, version=seen)

    def test_a_disabled_one_drops_what_waits_and_an_enabled_one_begins_anew(
        self, alice: User, endpoint: WebhookEndpoint
    ) -> None:
        webhooks.send_test(endpoint=endpoint, by=alice)
        disabled = webhooks.update(endpoint=endpoint, by=alice, enabled=False)
        assert (disabled.stopped, WebhookDelivery.objects.get().status) == ("person", "dropped")

        WebhookEndpoint.objects.update(failing_since=timezone.now())
        enabled = webhooks.update(endpoint=endpoint, by=alice, enabled=True)
        assert (enabled.disabled_at, enabled.stopped, enabled.failing_since) == (None, "", None)

    def test_nobody_else_may(self, bob: User, endpoint: WebhookEndpoint) -> None:
        for act in (webhooks.rotate_secret, webhooks.delete, webhooks.send_test, webhooks.update):
            with pytest.raises(ForeignWorkspace):
                act(endpoint=endpoint, by=bob)


class TestRotateSecret:
    def test_both_sign_until_the_overlap_ends(self, alice: User, home: Workspace) -> None:
        made, old = webhooks.create(workspace=home, url=URL, events=EVENTS, by=alice)
        rotated, new = webhooks.rotate_secret(endpoint=made, by=alice, overlap=timedelta(hours=1))

        now = timezone.now()
        assert webhooks.secrets_of(rotated, now=now) == [new, old]
        assert webhooks.secrets_of(rotated, now=now + timedelta(hours=1)) == [new]

    def test_an_overlap_out_of_bounds_is_refused(
        self, alice: User, endpoint: WebhookEndpoint
    ) -> None:
        with pytest.raises(Invalid, match="7 days"):
            webhooks.rotate_secret(endpoint=endpoint, by=alice, overlap=timedelta(days=8))


class TestDelete:
    def test_it_ends_with_its_log_and_stays_in_the_audit_log(
        self, alice: User, home: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        webhooks.send_test(endpoint=endpoint, by=alice)
        webhooks.delete(endpoint=endpoint, by=alice)

        assert not WebhookEndpoint.objects.exists()
        assert not WebhookDelivery.objects.exists()
        assert audit.events(workspace=home)[0].action == "webhook.deleted"


class TestStop:
    def test_what_is_stopped_is_not_stopped_again(
        self, alice: User, endpoint: WebhookEndpoint
    ) -> None:
        assert webhooks.stop(endpoint=endpoint, why="gone")
        assert not webhooks.stop(endpoint=endpoint, why="failing")
        endpoint.refresh_from_db()
        assert endpoint.stopped == "gone"
