"""Each secret is replaced while the product is at work, and nothing breaks."""

from __future__ import annotations

import base64
import json
import os
import threading

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import models
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from common import crypto
from proxy import resealing
from proxy.models import Provider
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.ops.test_backup import call
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    provider,
    shop,
    upstream,
)

pytestmark = pytest.mark.django_db(transaction=True)

# Digests and fingerprints: nothing can be read from them, and nothing has to be sealed again.
ONE_WAY = ("digest", "fingerprint", "word", "mark")


def ring(keys: dict[str, bytes]) -> str:
    """Return a key ring as the environment carries it."""
    return ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in keys.items())


class TestColumns:
    def test_every_binary_column_is_sealed_again_or_is_a_digest(self) -> None:
        known = {(column.model, column.field) for column in resealing.columns()}
        for label in resealing.OURS:
            for model in apps.get_app_config(label).get_models():
                for field in model._meta.get_fields():
                    if not isinstance(field, models.BinaryField):
                        continue
                    one_way = any(word in field.name for word in ONE_WAY)
                    assert one_way or (model, field.name) in known, (model, field.name)
        assert (Provider, "api_key_encrypted") in known


class TestReseal:
    def test_what_an_older_key_sealed_is_sealed_under_the_current_one(
        self, settings: Settings
    ) -> None:
        old = dict(settings.ENCRYPTION_KEYS)
        made = Provider(slug="one", kind="openai", base_url="https://example.com")
        made.set_api_key("secret-of-the-provider")
        made.set_cost_report_key("another-secret")
        made.save()
        new = {"next": os.urandom(32)}
        settings.ENCRYPTION_KEYS = {**new, **old}

        first = {each.name: each for each in resealing.reseal()}
        again = {each.name: each for each in resealing.reseal()}

        assert first["proxy_provider.api_key_encrypted"].resealed == 1
        assert again["proxy_provider.api_key_encrypted"].resealed == 0
        settings.ENCRYPTION_KEYS = new
        made.refresh_from_db()
        assert made.api_key() == "secret-of-the-provider"
        assert made.cost_report_key() == "another-secret"

    def test_what_no_key_opens_is_told_and_left(self, settings: Settings) -> None:
        made = Provider(slug="one", kind="openai", base_url="https://example.com")
        made.set_api_key("secret")
        made.save()
        settings.ENCRYPTION_KEYS = {"next": os.urandom(32)}
        with pytest.raises(SystemExit):
            call_command("rotate_secrets")
        before = bytes(made.api_key_encrypted)
        made.refresh_from_db()
        assert bytes(made.api_key_encrypted) == before


class TestKeysByPepper:
    def test_tells_which_peppers_are_needed(
        self,
        shop: Shop,  # noqa: F811
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        call_command("rotate_secrets", "--json")
        told = json.loads(capsys.readouterr().out)
        assert told["keys_by_pepper"] == {next(iter(settings.KEY_PEPPERS)): 1}


def test_pepper_and_encryption_key_are_replaced_under_load(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    settings: Settings,
) -> None:
    peppers = {"p-next": os.urandom(32), **settings.KEY_PEPPERS}
    both = {"e-next": os.urandom(32), **settings.ENCRYPTION_KEYS}
    # First each process learns to read the new ones, then one after the other writes with them.
    reading = dict(reversed(both.items()))
    over, statuses = threading.Event(), []
    with (
        GatewayProcess(ENCRYPTION_KEY=ring(reading)) as old,
        GatewayProcess(ENCRYPTION_KEY=ring(both), KEY_PEPPER=ring(peppers)) as new,
    ):

        def load(url: str) -> None:
            while not over.is_set():
                statuses.append(call(url, shop.secret))

        threads = [threading.Thread(target=load, args=(each.url,)) for each in (old, new)]
        for thread in threads:
            thread.start()
        try:
            settings.ENCRYPTION_KEYS = both
            call_command("rotate_secrets", verbosity=0)
            for each in (old, new):
                statuses.append(call(each.url, shop.secret))
        finally:
            over.set()
            for thread in threads:
                thread.join()
    assert set(statuses) == {200}
    sealed = Provider.objects.get()
    assert sealed.api_key_key_id == "e-next"
    only = {"e-next": both["e-next"]}
    with GatewayProcess(ENCRYPTION_KEY=ring(only), KEY_PEPPER=ring(peppers)) as last:
        assert call(last.url, shop.secret) == 200
    assert crypto.unseal(bytes(sealed.api_key_encrypted), "e-next") == b"upstream-key"


def test_who_is_signed_in_stays_so_while_the_old_secret_key_is_a_fallback(
    settings: Settings,
) -> None:
    user = User.objects.create_user(email="a@example.com", password="a-long-pass-word")
    client = Client()
    client.force_login(user)
    old = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 50, [old]
    assert "_auth_user_id" in client.session
    assert client.get("/dashboard").status_code != 500
    assert client.get("/login").status_code == 302, "still signed in"
    other = Client()
    settings.SECRET_KEY = old
    other.force_login(user)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 50, []
    assert other.get("/login").status_code == 200, "signed out without it"
