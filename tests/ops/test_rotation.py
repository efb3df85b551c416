"""Each secret is replaced while the product is at work, and nothing breaks."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import models
from django.test import Client
from pytest_django import Settings

from accounts.models import ApiKey, User
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


@contextmanager
def load(*urls: str, secret: str) -> Iterator[list[int]]:
    """Calls to each address while the block runs; what they were answered."""
    ApiKey.objects.update(rpm=100_000)
    over, statuses = threading.Event(), list[int]()

    def call_on(url: str) -> None:
        while not over.is_set():
            statuses.append(call(url, secret))

    threads = [threading.Thread(target=call_on, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_providers_key_is_replaced_under_load(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    tmp_path: Path,
) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(
        "providers:\n"
        f"  - {{slug: first, kind: openai, base_url: {upstream.base_url}, api_key: next-key}}\n"
    )

    def uses_the_next_one(url: str) -> bool:
        upstream.reset()
        call(url, shop.secret)
        return {each.headers["authorization"] for each in upstream.calls} == {"Bearer next-key"}

    with (
        GatewayProcess() as one,
        GatewayProcess() as two,
        load(one.url, two.url, secret=shop.secret) as statuses,
    ):
        call_command("load_catalogue", str(file), verbosity=0)
        deadline = time.monotonic() + 30
        while not all(uses_the_next_one(each.url) for each in (one, two)):
            assert time.monotonic() < deadline, "the old one is still used"
    assert len(statuses) > 2
    assert set(statuses) == {200}


def test_the_secret_key_is_replaced_while_people_look_at_pages(settings: Settings) -> None:
    user = User.objects.create_user(email="a@example.com", password="a-long-pass-word")
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    # First each process learns to read the new one, then one after the other writes with it.
    old, new = settings.SECRET_KEY, "n" * 50
    with (
        GatewayProcess(SECRET_KEY=old, SECRET_KEY_FALLBACKS=new) as before,
        GatewayProcess(SECRET_KEY=new, SECRET_KEY_FALLBACKS=old) as after,
        httpx.Client(trust_env=False, timeout=20, follow_redirects=False) as browser,
    ):
        browser.cookies.set(name, client.cookies[name].value, domain="127.0.0.1")
        for each in (before, after, before, after, after, before, after):
            answer = browser.get(f"{each.url}/api/v1/me")
            assert answer.status_code == 200, answer.text
        # It was the session that let them in.
        browser.cookies.clear()
        assert browser.get(f"{after.url}/api/v1/me").status_code == 401


# Each row of SECURITY.md, and where it is done while the product is at work.
ROTATED = {
    "`ENCRYPTION_KEY`": ("ops/test_rotation.py", "test_pepper_and_encryption_key_are_replaced"),
    "`KEY_PEPPER`": ("ops/test_rotation.py", "test_pepper_and_encryption_key_are_replaced"),
    "`SECRET_KEY`": ("ops/test_rotation.py", "test_the_secret_key_is_replaced_while"),
    "a provider's API key": ("ops/test_rotation.py", "test_a_providers_key_is_replaced"),
    "`STRIPE_WEBHOOK_SECRETS`": (
        "billing/stripe/test_events.py",
        "test_either_secret_is_good_while_one_replaces_the_other",
    ),
    "the secret of a customer's webhook": ("accounts/test_webhooks.py", "webhooks.rotate_secret("),
    "a wallet's xpub": (
        "billing/chains/test_wallets.py",
        "test_nothing_changes_before_a_second_person_approves",
    ),
}


def test_every_secret_that_the_policy_names_has_its_test() -> None:
    text = (settings.BASE_DIR / "SECURITY.md").read_text()
    table = text.partition("## Rotate secrets")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    assert set(ROTATED) == {row.removeprefix("| ") for row in rows[1:]}
    for path, name in ROTATED.values():
        assert name in (settings.BASE_DIR / "tests" / path).read_text(), name


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
