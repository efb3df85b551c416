"""Who signed in, out, in vain, and changed what they sign in with, is written down."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts import signins
from accounts.models import AuditEvent, User
from tests import pages

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return pages.person("alice")


def events(user: User) -> list[AuditEvent]:
    """What is told of somebody's account, the oldest first."""
    found = AuditEvent.objects.filter(target=user.public_id)
    return list(found.filter(action__startswith="user.").order_by("id"))


def sign_in(user: User, password: str = pages.PASSWORD) -> tuple[Client, Any]:
    client = Client()
    return client, client.post("/login", {"login": user.email, "password": password})


class TestRecord:
    def test_signing_in_and_out(self, alice: User) -> None:
        client, answer = sign_in(alice)
        assert answer.status_code == 302
        client.post("/accounts/logout/")

        first, second = events(alice)
        assert (first.action, first.user, first.actor) == ("user.signed_in", alice, "user")
        assert first.after == {"methods": ["password"]}
        assert second.action == "user.signed_out"
        assert first.workspace == pages.home(alice)
        assert first.request_id.startswith("req_")
        assert first.address == "127.0.0.1"

    def test_a_password_is_changed(self, alice: User) -> None:
        client, _ = sign_in(alice)
        fresh = "another-long-enough-pass"
        form = {"oldpassword": pages.PASSWORD, "password1": fresh, "password2": fresh}
        client.post("/accounts/password/change/", form)

        assert "user.password_changed" in [event.action for event in events(alice)]
        alice.refresh_from_db()
        assert alice.check_password(fresh)

    def test_somebody_without_a_workspace_is_told_of_to_staff(self) -> None:
        root = User.objects.create_superuser("root@example.com", pages.PASSWORD)
        EmailAddress.objects.create(user=root, email=root.email, primary=True, verified=True)
        sign_in(root)

        assert [event.workspace for event in events(root)] == [None]


class TestFailed:
    def test_a_wrong_password_is_a_strangers(self, alice: User) -> None:
        sign_in(alice, "a-wrong-pass")

        [event] = events(alice)
        assert (event.action, event.actor, event.user) == (
            "user.sign_in_failed",
            "stranger",
            None,
        )

    def test_an_account_that_is_none_is_not_written_down(self, db: None) -> None:
        signins.failed(email="nobody@example.com")

        assert not AuditEvent.objects.filter(action="user.sign_in_failed").exists()


class TestToldByMail:
    @pytest.mark.parametrize("template", sorted(signins.TOLD_BY_MAIL))
    def test_what_allauth_would_write_a_mail_about(self, alice: User, template: str) -> None:
        signins.told_by_mail(template=template, user=alice)

        assert [event.action for event in events(alice)] == [signins.TOLD_BY_MAIL[template]]

    def test_another_mail_is_none_of_it(self, alice: User) -> None:
        signins.told_by_mail(template="account/email/unknown_account", user=alice)

        assert events(alice) == []
