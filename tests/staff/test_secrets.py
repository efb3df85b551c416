"""No page of the staff's, no page of a customer's and no list of the API shows a secret."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.contrib.sessions.models import Session
from django.db.models import BinaryField
from django.test import Client
from django.utils import timezone

from accounts import approvals, invitations, keys, webhooks
from accounts.actors import Staff
from accounts.models import KeptAnswer, SecretFingerprint, User, Workspace
from billing.models import ExtendedKey
from common import crypto, ids
from config import policies
from proxy.models import Export, ExportPiece, Generation, IdempotencyKey, PromptLog, Provider
from tests import pages, staffing

pytestmark = pytest.mark.django_db

CANARY = "canary-8c1f4d07-of-a-secret"
XPUB = "xpub-" + CANARY
# As the allauth columns are called; the rest is found by its type.
TEXTS = {
    User: ["password"],
    UserSession: ["session_key"],
    Session: ["session_key", "session_data"],
}
OURS = ("accounts", "billing", "proxy")


def sealed(text: str) -> tuple[bytes, str]:
    return crypto.seal(text.encode())


@pytest.fixture
def root(db: None) -> User:
    user = staffing.member("root@example.com", superuser=True)
    RecoveryCodes.activate(user)
    return user


@pytest.fixture
def plain(alice: User, root: User) -> list[str]:
    """One of every secret there is; returned are those whose text is known."""
    home = Workspace.objects.get(personal_of=alice)
    seed = generate_totp_secret()
    TOTP.activate(alice, seed)
    codes = RecoveryCodes.activate(alice).get_unused_codes()
    _, key = keys.create(name="k", workspaces=[home], user=alice, scopes=["chat"], by=alice)
    hook, first = webhooks.create(
        workspace=home, url="https://example.com/hook", events=["balance.low"], by=alice
    )
    _, second = webhooks.rotate_secret(endpoint=hook, by=alice)
    invitations.create(workspace=home, email="guest@example.com", role="viewer", by=alice)
    provider = Provider(slug="p", kind="openai", base_url="https://example.com/v1")
    provider.set_api_key(f"provider-{CANARY}")
    provider.set_cost_report_key(f"report-{CANARY}")
    provider.save()
    kept_rows(home)
    approvals.executors.setdefault("canary", lambda order: None)
    approvals.ask(
        kind="canary",
        payload={"xpub": f"payload-{CANARY}"},
        summary="Another wallet",
        reason="The old one is full",
        by=Staff(root),
    )
    del approvals.executors["canary"]
    UserSession.objects.create(
        user=alice, session_key=CANARY[:24], ip="127.0.0.1", user_agent="Browser"
    )
    return [CANARY, CANARY[:24], seed, *codes, key, first, second]


def kept_rows(home: Workspace) -> None:
    """Rows that hold something sealed, each with the canary in it."""
    later = timezone.now() + timedelta(hours=1)
    (data, key_id), digest = sealed(CANARY), CANARY.encode()
    SecretFingerprint.objects.create(id=1, pepper_id="p", fingerprint=digest)
    common: dict[str, Any] = {"digest": digest, "fingerprint": digest, "expires_at": later}
    KeptAnswer.objects.create(
        caller="x", endpoint="/x", sealed=data, sealed_key_id=key_id, **common
    )
    IdempotencyKey.objects.create(
        key_id=1, endpoint="chat", request_id=ids.request_id(), answer=data, **common
    )
    Generation.objects.create(
        id=ids.request_id(), workspace_id=home.pk, key_id=1, model="m", sealed=data,
        sealed_key_id=key_id, expires_at=later,
    )  # fmt: skip
    PromptLog.objects.create(
        id=ids.request_id(), workspace_id=home.pk, key_id=1, sealed=data, sealed_key_id=key_id,
        bytes=1,
    )  # fmt: skip
    export = Export.objects.create(workspace=home, kind="logs", expires_at=later)
    ExportPiece.objects.create(export=export, n=1, sealed=data, sealed_key_id=key_id)
    ExtendedKey.objects.create(
        sealed=sealed(XPUB)[0], sealed_with=key_id, path="m/44'/60'/0'", fingerprint=XPUB
    )


def stored() -> Iterator[tuple[str, str]]:
    """Every form in which a stored secret could be shown, with the column that it is in."""
    for model in apps.get_models():
        if model._meta.app_label in OURS and model._meta.managed and not model._meta.proxy:
            for field in model._meta.concrete_fields:
                if isinstance(field, BinaryField):
                    for value in filled(model, field.name):
                        for form in forms(bytes(value)):
                            yield f"{model._meta.label}.{field.name}", form
    for model, names in TEXTS.items():
        for name in names:
            for value in filled(model, name):
                yield f"{model._meta.label}.{name}", str(value)
    for kept in Authenticator.objects.values_list("data", flat=True):
        for name in ("secret", "seed"):
            if name in kept:
                yield f"mfa.Authenticator.{name}", str(kept[name])


def filled(model: Any, name: str) -> list[Any]:
    values = model._default_manager.values_list(name, flat=True)
    found = [value for value in values if value]
    assert found, f"no {model._meta.label}.{name} is there to be found: make one in this test"
    return found


def forms(value: bytes) -> Iterator[str]:
    yield value.hex()
    yield base64.b64encode(value).decode()
    yield base64.urlsafe_b64encode(value).decode()
    yield repr(value)[2:-1]


def walk(browser: Client, start: str, *, below: str) -> dict[str, str]:
    """Every page that links lead to, by its address without a query."""
    found: dict[str, str] = {}
    waiting = [start]
    while waiting:
        address = waiting.pop()
        if address in found:
            continue
        answer = browser.get(address)
        body = b"".join(answer) if answer.streaming else answer.content
        text = body.decode("utf-8", "replace")
        found[address] = text
        links = {urlsplit(link).path for link in re.findall(r'(?:href|action)="(/[^"]*)"', text)}
        waiting += sorted(link for link in links if link.startswith(below) and "logout" not in link)
    return found


def require_clean(shown: dict[str, str], secrets: list[str], columns: list[Any]) -> None:
    for address, text in shown.items():
        assert [each for each in secrets if each in text] == [], address
        assert [column for column, form in columns if form in text] == [], address


class TestStaff:
    def test_no_page_of_the_admin_site_shows_a_secret(self, root: User, plain: list[str]) -> None:
        browser = staffing.sign_in(Client(), root)
        columns = list(stored())
        shown = walk(browser, "/admin/", below="/admin/")
        lists = {address for address in shown if address.count("/") == 4}
        rows = [address for address in shown if address.endswith("/change/")]
        past = [address for address in shown if address.endswith("/history/")]
        assert len(lists) > 70
        assert len(rows) > 25
        assert len(past) > 25
        require_clean(shown, plain, columns)


class TestCustomers:
    def test_no_page_of_the_dashboard_shows_a_secret(self, alice: User, plain: list[str]) -> None:
        browser = pages.browser(alice)
        columns = list(stored())
        shown = walk(browser, "/dashboard", below="/dashboard")
        assert len(shown) > 20
        require_clean(shown, plain, columns)

    def test_no_list_of_the_api_does(self, alice: User, plain: list[str]) -> None:
        browser = pages.browser(alice)
        columns, shown = list(stored()), {}
        for route in policies.routes():
            if route.method == "GET" and "<" not in route.path:
                shown[route.path] = browser.get(route.path).content.decode("utf-8", "replace")
        assert len(shown) > 10
        require_clean(shown, plain, columns)
