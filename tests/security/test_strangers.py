"""Rate limits on what strangers may try."""

from __future__ import annotations

import secrets

import pytest
from django.core import mail
from django.test import Client
from pytest_django import Settings

from accounts import keytext, signup
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
            client.post("/password/reset", {"email": "a@example.com"})
        assert len(mail.outbox) <= 5
