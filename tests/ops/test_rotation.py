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
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.mfa.utils import decrypt
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import models
from django.test import Client
from pytest_django import Settings

from accounts import keys, pepper
from accounts.models import ApiKey, User
from billing.chains import xpub
from common import crypto
from proxy import resealing
from proxy.models import Provider
from tests import pages
from tests.billing.chains import counter as counters
from tests.fakes import wallet
from tests.fakes.evm import FakeChain
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

    def test_second_factors_are_sealed_and_sealed_again(
        self, transactional_db: None, settings: Settings
    ) -> None:
        user = pages.person("ada")
        secret = generate_totp_secret()
        TOTP.activate(user, secret)
        codes = RecoveryCodes.activate(user).get_unused_codes()
        older = Authenticator.objects.create(
            user=pages.person("bob"), type="totp", data={"secret": "NEVERSEALED"}
        )
        stored = str(list(Authenticator.objects.values_list("data", flat=True)))
        assert secret not in stored
        new = {"next": os.urandom(32)}
        settings.ENCRYPTION_KEYS = {**new, **settings.ENCRYPTION_KEYS}

        first, again = resealing.reseal_factors(), resealing.reseal_factors()

        assert (first.resealed, again.resealed) == (3, 0)
        settings.ENCRYPTION_KEYS = new
        factors = {each.type: each for each in Authenticator.objects.filter(user=user)}
        assert decrypt(factors["totp"].data["secret"]) == secret
        assert RecoveryCodes(factors["recovery_codes"]).get_unused_codes() == codes
        older.refresh_from_db()
        assert "NEVERSEALED" not in older.data["secret"]
        assert decrypt(older.data["secret"]) == "NEVERSEALED"
        settings.ENCRYPTION_KEYS = {"other": os.urandom(32)}
        assert resealing.reseal_factors().unreadable == 3

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


@pytest.fixture
def counter(
    transactional_db: None, settings: Settings, tmp_path: Path
) -> Iterator[counters.Counter]:
    """A counter for deposits: its wallet's public key is kept sealed."""
    with FakeChain(decimals={counters.USDC: 6, counters.USDT: 6}) as chain:
        urls = [chain.endpoint().url, chain.endpoint().url]
        counters.configure(settings, tmp_path, counters.plan(urls))
        counters.set_wallet()
        made = counters.Counter(chain)
        assert made.look().trouble == ""
        yield made


def manager(name: str) -> str:
    """Somebody with a key that manages and never calls a model; return its text."""
    user = pages.person(name)
    terms = {"workspaces": [pages.home(user)], "user": user, "by": user}
    return keys.create(name="k", scopes=["billing:manage"], **terms)[1]  # type: ignore[arg-type]


def address(url: str, secret: str) -> str:
    """Ask for the address of deposits, which is made when it is first asked for."""
    answer = httpx.post(
        f"{url}/api/v1/crypto/address",
        headers={"authorization": f"Bearer {secret}"},
        json={},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["address"]
    return found


def test_pepper_and_encryption_key_are_replaced_under_load(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    counter: counters.Counter,
    settings: Settings,
) -> None:
    managers = [manager(f"person-{number}") for number in range(4)]
    first_pepper = next(iter(settings.KEY_PEPPERS))
    peppers = {"p-next": os.urandom(32), **settings.KEY_PEPPERS}
    both = {"e-next": os.urandom(32), **settings.ENCRYPTION_KEYS}
    # First each process learns to read the new ones, then one after the other writes with them.
    given: dict[str, str] = {"CHAINS_FILE": settings.CHAINS_FILE}
    reading = given | {
        "ENCRYPTION_KEY": ring(dict(reversed(both.items()))),
        "KEY_PEPPER": ring(dict(reversed(peppers.items()))),
    }
    writing = given | {"ENCRYPTION_KEY": ring(both), "KEY_PEPPER": ring(peppers)}
    with GatewayProcess(**reading) as old:
        early = [address(old.url, secret) for secret in managers[:2]]
        with (
            GatewayProcess(**writing) as new,
            load(old.url, new.url, secret=shop.secret) as statuses,
        ):
            settings.ENCRYPTION_KEYS = both
            call_command("rotate_secrets", verbosity=0)
            late = [address(old.url, secret) for secret in managers[2:]]
            assert pepper.keys_by_pepper()[first_pepper] >= len(managers), "old hashes nothing"
            again = [address(new.url, secret) for secret in managers]
            deadline = time.monotonic() + 30
            while (left := pepper.keys_by_pepper()) != {"p-next": len(managers) + 1}:
                assert time.monotonic() < deadline, left
                time.sleep(0.05)
            assert [address(old.url, secret) for secret in managers] == again
    assert len(statuses) > 2
    assert set(statuses) == {200}
    assert again == early + late
    assert len(set(again)) == len(managers)
    sealed = Provider.objects.get()
    assert sealed.api_key_key_id == "e-next"
    assert crypto.unseal(bytes(sealed.api_key_encrypted), "e-next") == b"upstream-key"
    only = {
        "ENCRYPTION_KEY": ring({"e-next": both["e-next"]}),
        "KEY_PEPPER": ring({"p-next": peppers["p-next"]}),
    }
    settings.KEY_PEPPERS = peppers
    newcomer = manager("newcomer")
    with GatewayProcess(**given, **only) as last:
        assert call(last.url, shop.secret) == 200
        assert [address(last.url, secret) for secret in managers] == again
        # A new address is made from the public key, which was sealed again.
        made = address(last.url, newcomer)
    assert made == xpub.receiving_address(wallet.account().public, len(managers))


@contextmanager
def load(*urls: str, secret: str) -> Iterator[list[int]]:
    """Calls to each address while the block runs; what they were answered."""
    ApiKey.objects.update(rpm=100_000)
    over, statuses = threading.Event(), list[int]()

    def call_on(url: str) -> None:
        # A pause, so that the processes that are looked at have something of the machine too.
        while not over.wait(0.02):
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
