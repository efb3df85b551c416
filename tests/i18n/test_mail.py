"""Emails in the language of whoever gets them, also those that workers send."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.test import Client
from django.utils.translation import get_language, override

from accounts import invitations, webhookmail, webhooks
from accounts.models import User, WebhookEndpoint
from billing import notices
from billing.models import Alert
from tests import pages
from tests.i18n import catalogues, glossary, letters, names, reading, test_pages

pytestmark = pytest.mark.django_db
ALERTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cap.threshold": ("workspace:day", {"spent": 80_500_000_000, "cap": 10**12, "span": "day"}),
    "balance.low": ("USD", {"asset": "USD", "balance": 1_500_000_000, "threshold": 5 * 10**9}),
    "card.declined": ("card", {"why": "card_declined", "amount_usd": "1234.50", "top_up": ""}),
    "auto_top_up.stopped": ("card", {"why": "insufficient_funds", "top_up": ""}),
}
TOLD = {
    ("cap.threshold", "en"): (
        "80% of a spending cap is used in",
        "has spent $80.50 of its daily cap",
    ),
    ("cap.threshold", "de"): (
        "80 % eines Ausgabenlimits in",
        "hat am 21.11.2026 (UTC) 80,50\xa0$",
    ),
    ("cap.threshold", "ru"): (
        "Израсходовано 80 % лимита расходов",
        "лимита 1\xa0000,00\xa0$ за 21.11.2026",
    ),
    ("balance.low", "en"): ("The balance of", "has $1.50 left, less than $5.00"),
    ("balance.low", "de"): ("Das Guthaben von", "hat noch 1,50\xa0$, weniger als 5,00\xa0$"),
    ("balance.low", "ru"): ("Баланс «", "осталось 1,50\xa0$, меньше 5,00\xa0$"),
    ("card.declined", "en"): ("A top-up of", "A payment of $1,234.50"),
    ("card.declined", "de"): ("Eine Aufladung von", "Eine Zahlung von 1.234,50\xa0$"),
    ("card.declined", "ru"): ("Пополнение «", "Платёж на 1\xa0234,50\xa0$"),
    ("auto_top_up.stopped", "en"): ("Automatic top-up of", "Three payments in a row"),
    ("auto_top_up.stopped", "de"): ("Die automatische Aufladung von", "Drei Zahlungen in Folge"),
    ("auto_top_up.stopped", "ru"): ("Автопополнение «", "Три платежа подряд"),
}
HELLO = {"en": "Hello,", "de": "Guten Tag!", "ru": "Здравствуйте!"}


SITE: Final = re.compile(r"https?://\S+|testserver|Tollgate|№")


def lines(message: EmailMessage) -> list[str]:
    """What a mail says, line by line, without names and addresses."""
    texts = [str(message.subject), *str(message.body).splitlines()]
    for html, _ in getattr(message, "alternatives", []):
        texts += reading.words(str(html))
    found = (SITE.sub("", text).strip(" .\n") for text in texts)
    return [text for text in found if re.search(r"[^\W\d]{2}", names.SHAPES.sub(" ", text))]


class TestEveryMail:
    def test_each_template_of_a_mail_to_customers_is_among_them(self) -> None:
        assert letters.templates() - set(letters.STAFF) == set(letters.ACTS)

    def test_each_says_everything_in_the_readers_language(
        self, django_capture_on_commit_callbacks: Any
    ) -> None:
        """Subject, text and HTML: nothing as in English, nothing in a word that is not ours."""
        got = {
            language: letters.sent(language, django_capture_on_commit_callbacks)
            for language in ("en", *catalogues.LANGUAGES)
        }

        for name in letters.ACTS:
            english = [line for message in got["en"][name] for line in lines(message)]
            assert english, name
            for language in catalogues.LANGUAGES:
                said = [line for message in got[language][name] for line in lines(message)]
                assert len(got[language][name]) == len(got["en"][name]), name
                assert set(said) & set(english) == set(), (name, language)
                assert [line for line in said if glossary.flaw(line, language=language)] == []
                assert [line for line in said if test_pages.AMOUNT.search(line)] == []

    @pytest.mark.parametrize("language", ["en", "de", "ru"])
    def test_each_has_one_line_as_its_subject_and_ends_with_the_sites_address(
        self, django_capture_on_commit_callbacks: Any, language: str
    ) -> None:
        found = letters.sent(language, django_capture_on_commit_callbacks)

        for message in (each for many in found.values() for each in many):
            assert message.subject.strip() == message.subject
            assert "\n" not in message.subject
            assert "\n\n\n" not in str(message.body).strip()
            assert str(message.body).strip().splitlines()[-2] == "Tollgate"


@pytest.fixture
def speaker() -> Callable[[str], User]:
    """Make somebody who speaks a language; what was sent to them so far is forgotten."""

    def make(language: str) -> User:
        user = pages.person(f"reader-{language}")
        User.objects.filter(pk=user.pk).update(language=language)
        mail.outbox.clear()
        return User.objects.get(pk=user.pk)

    return make


def only() -> tuple[str, str]:
    """Subject and text of the one mail that was sent."""
    [message] = mail.outbox
    return str(message.subject), str(message.body)


class TestAlerts:
    @pytest.mark.parametrize(("kind", "language"), TOLD)
    def test_a_worker_writes_in_the_readers_language(
        self, speaker: Callable[[str], User], kind: str, language: str
    ) -> None:
        home = pages.home(speaker(language))
        subject, facts = ALERTS[kind]
        Alert.objects.create(
            workspace=home, kind=kind, subject=subject, window="2026-11-21", level=80, facts=facts
        )

        with override("en"):
            notices.deliver()
            left = get_language()

        assert left == "en"
        title, text = only()
        assert TOLD[kind, language][0] in title
        assert TOLD[kind, language][1] in text
        assert HELLO[language] in text
        message = mail.outbox[0]
        assert isinstance(message, EmailMultiAlternatives)
        assert f'<html lang="{language}">' in str(message.alternatives[0][0])

    def test_each_reader_gets_their_own(self, speaker: Callable[[str], User]) -> None:
        home = pages.home(speaker("ru"))
        home.memberships.create(user=speaker("de"), role="admin")
        subject, facts = ALERTS["balance.low"]
        Alert.objects.create(workspace=home, kind="balance.low", subject=subject, facts=facts)

        notices.deliver()

        told = {message.to[0]: str(message.body) for message in mail.outbox}
        assert "Здравствуйте!" in told["reader-ru@example.com"]
        assert "Guten Tag!" in told["reader-de@example.com"]


class TestWebhookStopped:
    @pytest.mark.parametrize(
        ("language", "words"),
        [
            ("en", "was disabled. It answered that it is gone (410)."),
            ("de", "Er hat geantwortet, dass es ihn nicht mehr gibt (410)."),
            ("ru", "Сервер ответил, что адреса больше нет (410)."),
        ],
    )
    def test_it_is_told_in_the_readers_language(
        self, speaker: Callable[[str], User], language: str, words: str
    ) -> None:
        user = speaker(language)
        endpoint, _ = webhooks.create(
            workspace=pages.home(user),
            url="https://example.com/hook",
            events=["topup.succeeded"],
            by=user,
        )
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
            stopped=WebhookEndpoint.Stopped.GONE, disabled_at=endpoint.created_at
        )

        assert webhookmail.tell() == 1

        assert words in only()[1]


class TestInvitation:
    @pytest.mark.parametrize(
        ("language", "role"), [("en", "as viewer."), ("de", "Betrachter."), ("ru", "наблюдатель.")]
    )
    def test_somebody_we_know_is_invited_in_their_own_language(
        self,
        speaker: Callable[[str], User],
        django_capture_on_commit_callbacks: Any,
        language: str,
        role: str,
    ) -> None:
        host, guest = pages.person("host"), speaker(language)
        mail.outbox.clear()

        with django_capture_on_commit_callbacks(execute=True):
            invitations.create(
                workspace=pages.home(host), email=guest.email, role="viewer", by=host
            )

        assert role in only()[1]

    def test_a_stranger_is_invited_in_the_language_of_the_page(
        self, speaker: Callable[[str], User], django_capture_on_commit_callbacks: Any
    ) -> None:
        browser = pages.browser(speaker("de"))
        form = {"email": "stranger@example.com", "role": "viewer"}

        with django_capture_on_commit_callbacks(execute=True):
            browser.post("/dashboard/team/invite", form)

        assert "Der Link gilt 7\xa0Tage" in only()[1]


class TestAccount:
    @pytest.mark.parametrize(
        ("browser", "subject"),
        [
            ("en", "Confirm your email address for Tollgate"),
            ("de", "Bestätigen Sie Ihre E-Mail-Adresse für Tollgate"),
            ("ru", "Подтвердите адрес электронной почты для Tollgate"),
        ],
    )
    def test_an_address_is_confirmed_in_the_language_of_sign_up(
        self, client: Client, browser: str, subject: str
    ) -> None:
        form = {"email": "new@example.com", "password1": pages.PASSWORD}

        client.post("/signup", form, headers={"Accept-Language": browser})

        title, text = only()
        assert title == subject
        assert HELLO[browser] in text

    def test_a_password_is_reset_in_the_persons_language_not_the_browsers(
        self, client: Client, speaker: Callable[[str], User]
    ) -> None:
        user = speaker("ru")

        client.post(
            "/accounts/password/reset/",
            {"email": user.email},
            headers={"Accept-Language": "de"},
        )

        title, text = only()
        assert title == "Новый пароль для Tollgate"
        assert "Кто-то запросил новый пароль" in text
