"""
Every mail that the product can send to customers, rendered as it is sent.

Each is a template whose name ends in ``_subject.txt``; beside it stands what makes the mail go out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import allauth
from django.core import mail
from django.core.mail import EmailMessage
from django.test import Client
from django.utils.translation import override

from accounts import invitations, service_accounts, webhookmail, webhooks
from accounts.models import User, WebhookEndpoint
from billing import notices
from billing.models import Alert
from tests import pages
from tests.i18n import borrowed, catalogues

SUBJECT: Final = "_subject.txt"
# For operators and staff, who read English like the admin site.
STAFF: Final = ("approval_asked", "approval_answered", "operator")
KEY: Final = {"key_id": "key_1", "key_name": "№ 1"}
SPENT: Final = {"spent": 1_234_560_000_000, "cap": 2_000_000_000_000}
TOP_UP: Final = {"amount_usd": "1234.50", "why": "card_declined"}
OWN_HAND: Final = {"why": "authentication_required", "top_up": "top_0123456789abcdef"}
ALERTS: Final[dict[str, list[tuple[str, int, dict[str, Any]]]]] = {
    "cap.threshold": [
        ("2026-11-21", 50, {**SPENT, "span": "day"}),
        ("2026-11", 80, {**SPENT, "span": "month"}),
        ("2026-11-21", 100, {**SPENT, **KEY, "span": "day"}),
        ("2026-11", 100, {**SPENT, **KEY, "span": "month"}),
    ],
    "balance.low": [
        ("", 0, {"asset": "USD", "balance": 1_234_560_000_000, "threshold": 5_000_000_000_000}),
        ("", 0, {"asset": "TOK", "balance": 1_234_567, "threshold": 5_000_000}),
    ],
    "card.declined": [("", 0, {**TOP_UP, "top_up": ""}), ("", 0, {**TOP_UP, **OWN_HAND})],
    "auto_top_up.stopped": [("", 0, {**TOP_UP, "top_up": ""}), ("", 0, {**TOP_UP, **OWN_HAND})],
}


def templates() -> set[str]:
    """The names of all mails: of ours, and of those of the library that go out."""
    theirs = Path(allauth.__file__).parent / "templates"
    ours = catalogues.ROOT / "templates"
    return {
        path.name.removesuffix(SUBJECT)
        for folder in (ours, theirs)
        for path in folder.rglob(f"*{SUBJECT}")
        if folder == ours or not borrowed.OFF.search(str(path.relative_to(theirs)))
    }


def sent(
    language: str, committed: Callable[..., AbstractContextManager[Any]]
) -> dict[str, list[EmailMessage]]:
    """What a reader of a language gets, by the name of its template."""
    with override(language):
        reader = pages.person(f"reader-{language}")
    User.objects.filter(pk=reader.pk).update(language=language)
    reader = User.objects.get(pk=reader.pk)
    found = {}
    for name, act in ACTS.items():
        mail.outbox.clear()
        # A worker's thread speaks English.
        with override("en"), committed(execute=True):
            act(reader)
        found[name] = list(mail.outbox)
    return found


def _stranger(reader: User) -> Client:
    return Client(headers={"Accept-Language": reader.language})


def _signs_up(reader: User) -> None:
    form = {"email": f"new-{reader.language}@example.com", "password1": pages.PASSWORD}
    _stranger(reader).post("/signup", form)


def _adds_an_address(reader: User) -> None:
    form = {"email": f"more-{reader.language}@example.com", "action_add": ""}
    pages.browser(reader).post("/accounts/email/", form)


def _forgets(reader: User) -> None:
    _stranger(reader).post("/accounts/password/reset/", {"email": reader.email})


def _forgets_more(reader: User) -> None:
    _stranger(reader).post(
        "/accounts/password/reset/", {"email": f"nobody-{reader.language}@example.com"}
    )


def _is_invited(reader: User) -> None:
    with override(reader.language):
        host = pages.person(f"host-{reader.language}")
    there = pages.home(host)
    robot = service_accounts.create(workspace=there, name="№ 2", role="admin", by=host)
    for by in (host, robot):
        invitations.create(workspace=there, email=reader.email, role="billing", by=by)


def _has_webhooks(reader: User) -> None:
    for stopped in (WebhookEndpoint.Stopped.GONE, WebhookEndpoint.Stopped.FAILING):
        made, _ = webhooks.create(
            workspace=pages.home(reader),
            url="https://example.com/hook",
            events=["topup.succeeded"],
            by=reader,
        )
        mine = WebhookEndpoint.objects.filter(pk=made.pk)
        mine.update(stopped=stopped, disabled_at=made.created_at)
    webhookmail.tell()


def _is_alerted(kind: str) -> Callable[[User], None]:
    def act(reader: User) -> None:
        for number, (window, level, facts) in enumerate(ALERTS[kind]):
            Alert.objects.create(
                workspace=pages.home(reader),
                kind=kind,
                subject=str(number),
                window=window,
                level=level,
                facts=facts,
            )
        notices.deliver()

    return act


ACTS: Final[dict[str, Callable[[User], None]]] = {
    "email_confirmation_signup": _signs_up,
    "email_confirmation": _adds_an_address,
    "password_reset_key": _forgets,
    "unknown_account": _forgets_more,
    "invitation": _is_invited,
    "webhook_stopped": _has_webhooks,
    **{kind.replace(".", "_"): _is_alerted(kind) for kind in ALERTS},
}
