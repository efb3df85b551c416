"""Emails about alerts."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from smtplib import SMTPRecipientsRefused
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection, connections
from pytest_django import Settings

from accounts import webhooks
from accounts.models import Membership, User, WebhookDelivery, WebhookEndpoint, Workspace
from billing import alerts, apps, incidents, notices, topups
from billing.models import Alert
from tests import pages

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


@pytest.fixture
def home(alice: User) -> Workspace:
    return pages.home(alice)


def join(workspace: Workspace, name: str, role: str, *, verified: bool = True) -> User:
    person = pages.person(name, verified=verified)
    Membership.objects.create(workspace=workspace, user=person, role=role)
    return person


def cap_alert(workspace: Workspace, **facts: Any) -> Alert:
    return Alert.objects.create(
        workspace=workspace,
        kind="cap.threshold",
        subject="workspace:day",
        window="2026-11-21",
        level=80,
        facts={"spent": 80 * 10**9, "cap": 100 * 10**9, "span": "day", **facts},
    )


class TestDeliver:
    def test_those_who_run_the_workspace_are_told_once(self, home: Workspace) -> None:
        for name, role in (("bill", "billing"), ("adam", "admin"), ("dev", "developer")):
            join(home, name, role)
        join(home, "unproved", "admin", verified=False)
        mail.outbox.clear()
        cap_alert(home)

        assert notices.deliver() == 1
        assert notices.deliver() == 0

        told = sorted(message.to[0] for message in mail.outbox)
        assert told == ["adam@example.com", "alice@example.com", "bill@example.com"]

    def test_it_says_what_where_and_how_much(self, home: Workspace) -> None:
        mail.outbox.clear()
        Workspace.objects.filter(pk=home.pk).update(name="A & <B>")
        cap_alert(home)

        notices.deliver()

        [message] = mail.outbox
        assert message.subject == "80% of a spending cap is used in A & <B>"
        assert "The workspace A & <B> has spent $80.00 of its daily cap of $100.00" in message.body
        html, kind = message.alternatives[0]  # type: ignore[attr-defined]
        assert kind == "text/html"
        assert "A &amp; &lt;B&gt;" in html
        assert "<B>" not in html

    @pytest.mark.parametrize(
        ("facts", "words"),
        [
            ({"span": "month"}, "monthly cap"),
            ({"key_name": "robot"}, "The API key “robot”"),
            ({"key_name": "robot", "span": "month"}, "of its monthly cap"),
        ],
    )
    def test_windows_and_keys_are_named(
        self, home: Workspace, facts: dict[str, str], words: str
    ) -> None:
        mail.outbox.clear()
        cap_alert(home, **facts)
        notices.deliver()
        assert words in mail.outbox[0].body

    @pytest.mark.parametrize(
        ("asset", "words"), [("USD", "has $0.50 left"), ("TOK", "500,000,000 platform tokens")]
    )
    def test_a_low_balance(self, home: Workspace, asset: str, words: str) -> None:
        mail.outbox.clear()
        facts = {"balance": 5 * 10**8, "threshold": 10**9, "asset": asset}
        Alert.objects.create(workspace=home, kind="balance.low", subject=asset, facts=facts)
        notices.deliver()
        assert words in mail.outbox[0].body
        assert mail.outbox[0].subject == "The balance of Personal is low"

    def test_operators_are_told_what_is_wrong(self, settings: Settings) -> None:
        settings.OPERATOR_EMAILS = ["ops@example.com"]
        assert incidents.begin(
            kind="ledger.violation", subject="invariant:1", facts={"violations": 2}
        )
        notices.deliver()
        [message] = mail.outbox
        assert message.to == ["ops@example.com"]
        assert message.subject == "The ledger violates an invariant"
        assert "violations: 2" in message.body

    def test_a_mail_server_that_is_away_is_tried_again_for_the_others(
        self, home: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        join(home, "zoe", "admin")
        mail.outbox.clear()
        cap_alert(home)
        with monkeypatch.context() as patch:
            patch.setattr(EmailBackend, "send_messages", failing(after=1))
            assert notices.deliver() == 0
        assert notices.deliver() == 0
        later()
        assert notices.deliver() == 1
        assert sorted(m.to[0] for m in mail.outbox) == ["alice@example.com", "zoe@example.com"]

    def test_an_address_that_is_refused_keeps_nobody_else_from_it(
        self, home: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        join(home, "zoe", "admin")
        mail.outbox.clear()
        cap_alert(home)
        real = EmailBackend.send_messages

        def send(backend: EmailBackend, messages: Any) -> int:
            if messages[0].to == ["alice@example.com"]:
                raise SMTPRecipientsRefused({})
            return real(backend, messages)

        monkeypatch.setattr(EmailBackend, "send_messages", send)
        assert notices.deliver() == 0
        assert [message.to for message in mail.outbox] == [["zoe@example.com"]]

    @pytest.mark.django_db(transaction=True)
    def test_many_at_once_send_each_mail_once(self, home: Workspace) -> None:
        mail.outbox.clear()
        cap_alert(home)
        gate = threading.Barrier(4)

        def deliver(_: int) -> int:
            try:
                gate.wait()
                return notices.deliver()
            finally:
                connections["default"].close()

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(deliver, range(4))) == 1
        assert len(mail.outbox) == 1


class TestIncidents:
    def test_what_lasts_is_one_incident(self) -> None:
        news = [
            incidents.begin(kind="provider.drift", subject="openai", facts={}) for _ in range(2)
        ]
        assert news == [True, False]

    def test_it_may_begin_anew_after_its_end(self) -> None:
        incidents.begin(kind="provider.drift", subject="openai", facts={})
        incidents.begin(kind="provider.drift", subject="other", facts={})
        incidents.end(kind="provider.drift", subject="openai")
        assert incidents.begin(kind="provider.drift", subject="openai", facts={})
        assert not incidents.begin(kind="provider.drift", subject="other", facts={})

    def test_all_but_the_named_end(self) -> None:
        for number in (1, 2):
            incidents.begin(kind="ledger.violation", subject=f"invariant:{number}", facts={})
        incidents.end_others(kind="ledger.violation", subjects={"invariant:2"})
        open_ones = Alert.objects.filter(closed_at=None)
        assert [alert.subject for alert in open_ones] == ["invariant:2"]


def failing(*, after: int) -> Any:
    """A mail server that takes some mails, then none."""
    real = EmailBackend.send_messages
    sent: list[int] = []

    def send(backend: EmailBackend, messages: Any) -> int:
        if len(sent) >= after:
            raise ConnectionRefusedError
        sent.append(1)
        return real(backend, messages)

    return send


def later() -> None:
    """Let a claim run out."""
    with connection.cursor() as cursor:
        cursor.execute("update billing_alert set claimed_at = claimed_at - interval '4 minutes'")


class TestTellWebhooks:
    @pytest.fixture
    def endpoint(self, alice: User, home: Workspace) -> WebhookEndpoint:
        events = ["balance.low", "cap.threshold", "topup.succeeded"]
        return webhooks.create(
            workspace=home, url="https://hooks.example.com/", events=events, by=alice
        )[0]

    def told(self) -> dict[str, Any]:
        """What the one event says."""
        body = WebhookDelivery.objects.select_related("event").get().event.body
        data: dict[str, Any] = json.loads(body)["data"]
        return data

    def test_a_cap(self, home: Workspace, endpoint: WebhookEndpoint) -> None:
        notices.tell_webhooks(cap_alert(home, key_id="key_1", key_name="robot"))
        assert self.told() == {
            "level_percent": 80,
            "span": "day",
            "window": "2026-11-21",
            "spent_usd": "80.00",
            "cap_usd": "100.00",
            "key_id": "key_1",
            "key_name": "robot",
        }

    @pytest.mark.parametrize(("asset", "left"), [("USD", "0.50"), ("TOK", "500000000")])
    def test_a_balance(
        self, home: Workspace, endpoint: WebhookEndpoint, asset: str, left: str
    ) -> None:
        facts = {"balance": 5 * 10**8, "threshold": 10**9, "asset": asset}
        alert = Alert.objects.create(workspace=home, kind="balance.low", subject=asset, facts=facts)
        notices.tell_webhooks(alert)
        assert (self.told()["asset"], self.told()["balance"]) == (asset, left)

    def test_what_only_people_are_told_is_not_sent(
        self, home: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        notices.tell_webhooks(
            Alert.objects.create(workspace=home, kind="card.declined", subject="x", facts={})
        )
        assert not WebhookDelivery.objects.exists()

    def test_money_that_arrives_is_told_once(
        self, home: Workspace, endpoint: WebhookEndpoint
    ) -> None:
        income = topups.Income(
            workspace_id=home.pk,
            kind="top_up",
            source=topups.source_of("pi_1"),
            house="clearing:stripe",
            amount=10 * 10**9,
            reference="pi_1",
        )
        assert topups.credit_once(income)
        assert not topups.credit_once(income)
        assert self.told() == {
            "method": "card",
            "asset": "USD",
            "amount": "10.00",
            "reference": "pi_1",
        }

    def test_every_alert_that_is_raised_goes_through_here(self) -> None:
        assert apps.tell_webhooks in alerts.on_raised
