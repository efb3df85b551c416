"""Rate limits on what strangers may try."""

from __future__ import annotations

import secrets
import time

import pytest
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core import mail
from django.test import Client
from pytest_django import Settings

from accounts import invitations, keytext, signup
from accounts.models import Invitation, Workspace
from common import tries
from proxy.strangers import Strangers
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    hello,
    provider,
    shop,
    upstream,
)

pytestmark = pytest.mark.django_db(transaction=True)


class TestUnknownKeys:
    def test_an_address_that_tries_many_waits_and_known_keys_do_not(
        self,
        shop: Shop,  # noqa: F811
        upstream: FakeUpstream,  # noqa: F811
        settings: Settings,
    ) -> None:
        settings.BAD_KEYS_PER_MINUTE = 3
        with GatewayServer() as gateway:

            def ask(key: str) -> int:
                with gateway.client(key) as client:
                    return client.get("/v1/models").status_code

            assert ask(shop.secret) == 200
            strangers = [ask(keytext.mint(prefix="sk-tg-")) for _ in range(5)]
            assert strangers == [401, 401, 401, 429, 429]
            assert ask(shop.secret) == 200

    def test_addresses_are_told_apart(self, settings: Settings) -> None:
        settings.BAD_KEYS_PER_MINUTE = 1
        strangers = Strangers()
        strangers.note("192.0.2.1")
        strangers.check("192.0.2.2")
        with pytest.raises(Exception, match="Too many unknown API keys"):
            strangers.check("192.0.2.1")


class TestPeople:
    def test_sign_in_is_limited(self) -> None:
        signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
        client = Client()
        answers = [
            client.post("/login", {"login": "a@example.com", "password": secrets.token_hex(8)})
            for _ in range(12)
        ]
        assert (
            any(b"oo many" in answer.content for answer in answers)
            or answers[-1].status_code == 429
        )

    def test_the_right_password_does_not_help_while_it_is_limited(self) -> None:
        signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
        client = Client()
        for _ in range(12):
            client.post("/login", {"login": "a@example.com", "password": secrets.token_hex(8)})
        client.post("/login", {"login": "a@example.com", "password": "a-long-pass-word"})
        assert "_auth_user_id" not in client.session

    def test_resets_send_few_mails(self) -> None:
        signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
        client = Client()
        mail.outbox.clear()
        for _ in range(12):
            client.post("/accounts/password/reset/", {"email": "a@example.com"})
        assert 1 <= len(mail.outbox) <= 5

    def test_an_address_that_tries_many_accounts_waits_and_others_do_not(self) -> None:
        signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
        guesser, other = Client(REMOTE_ADDR="192.0.2.1"), Client(REMOTE_ADDR="192.0.2.2")
        for number in range(11):
            guess = {"login": f"n{number}@example.com", "password": secrets.token_hex(8)}
            guesser.post("/login", guess)
        right = {"login": "a@example.com", "password": "a-long-pass-word"}
        guesser.post("/login", right)
        assert "_auth_user_id" not in guesser.session
        other.post("/login", right)
        assert "_auth_user_id" in other.session

    def test_an_address_that_asks_for_many_resets_waits_and_others_do_not(self) -> None:
        for number in range(23):
            email = f"n{number}@example.com"
            signup.register(email=email, password="a-long-pass-word", verified=True)
        mail.outbox.clear()
        asker, other = Client(REMOTE_ADDR="192.0.2.1"), Client(REMOTE_ADDR="192.0.2.2")
        answers = [
            asker.post("/accounts/password/reset/", {"email": f"n{number}@example.com"})
            for number in range(22)
        ]
        assert len(mail.outbox) == 20
        assert [answer.status_code for answer in answers[-2:]] == [429, 429]
        other.post("/accounts/password/reset/", {"email": "n22@example.com"})
        assert len(mail.outbox) == 21

    def test_digits_of_a_second_factor_are_not_tried_one_after_the_other(self) -> None:
        user = signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
        secret = str(generate_totp_secret())
        TOTP.activate(user, secret)
        client = Client()
        client.post("/login", {"login": "a@example.com", "password": "a-long-pass-word"})
        now = int(time.time()) // 30
        right = {str(format_hotp_value(hotp_value(secret, now + step))) for step in range(-2, 4)}
        wrong = [f"{number:06d}" for number in range(40) if f"{number:06d}" not in right]
        for digits in wrong[:12]:
            client.post("/accounts/2fa/authenticate/", {"code": digits})
        for digits in right:
            client.post("/accounts/2fa/authenticate/", {"code": digits})
        assert "_auth_user_id" not in client.session


class TestInvitations:
    @pytest.fixture
    def owner(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Client:
        monkeypatch.setattr(invitations, "MOST_SENT", 3)
        monkeypatch.setattr(invitations, "MOST_UNKNOWN", 4)
        # No hour begins anew in the middle of a test.
        monkeypatch.setattr(tries, "WINDOW_S", 10**9)
        settings.TRUSTED_PROXIES = 1
        user = signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
        client = Client(headers={"x-forwarded-for": "192.0.2.1"})
        client.force_login(user)
        return client

    def invite(self, client: Client, number: int, **headers: str) -> None:
        body = {"email": f"n{number}@example.com", "role": "viewer"}
        client.post("/dashboard/team/invite", body, headers=headers)

    def test_an_address_sends_so_many_within_an_hour(self, owner: Client) -> None:
        mail.outbox.clear()
        for number in range(6):
            self.invite(owner, number)
        assert len(mail.outbox) == 3
        self.invite(owner, 7, **{"x-forwarded-for": "192.0.2.2"})
        assert len(mail.outbox) == 4, "addresses are told apart"

    def test_sending_again_counts_as_well_and_says_so(self, owner: Client) -> None:
        workspace = Workspace.objects.get()
        self.invite(owner, 1)
        again = f"/api/v1/invitations/{Invitation.objects.get().public_id}/resend"
        owner.get("/dashboard/team")
        headers = {
            "x-workspace-id": workspace.public_id,
            "x-csrftoken": owner.cookies["csrftoken"].value if "csrftoken" in owner.cookies else "",
        }
        answers = [
            owner.post(again, "{}", content_type="application/json", headers=headers)
            for _ in range(4)
        ]
        statuses = [answer.status_code for answer in answers]
        assert statuses == [200, 200, 429, 429], [answer.content for answer in answers]
        assert answers[-1].json()["error"]["reason"] == "rate_limited"

    def test_an_address_that_guesses_waits(self, owner: Client) -> None:
        self.invite(owner, 1)
        good = mail.outbox[-1].body.partition("/invitations/")[2].split()[0]
        stranger = Client(headers={"x-forwarded-for": "192.0.2.9"})
        statuses = [
            stranger.get(f"/invitations/{secrets.token_urlsafe(32)}").status_code for _ in range(6)
        ]
        assert statuses == [404, 404, 404, 404, 429, 429]
        assert stranger.get(f"/invitations/{good}").status_code == 429, "not even the right one"
        assert (
            Client(headers={"x-forwarded-for": "192.0.2.8"}).get(f"/invitations/{good}").status_code
            == 200
        )

    def test_without_redis_nobody_is_kept_out(self, owner: Client, settings: Settings) -> None:
        mail.outbox.clear()
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": "redis://127.0.0.1:1/0",
            }
        }
        self.invite(owner, 1)
        assert len(mail.outbox) == 1
