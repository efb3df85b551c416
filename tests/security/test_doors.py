"""Every address of the pages, for somebody who is not signed in: a short list is open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import signup

# What anybody may open: the front, the documentation, prices, signing up and in.
OPEN = {
    *("/", "/login", "/signup", "/models", "/models.json", "/pricing", "/status", "/readyz"),
    *("/docs", "/docs/x", "/docs/api", "/openapi/gateway.json", "/openapi/management.json"),
    *("/legal/x", "/invitations/x", "/webhooks/stripe", "/language", "/impersonation/stop"),
    "/csp-report",
    *("/admin/login/", "/admin/logout/"),
    *("/accounts/login/", "/accounts/logout/", "/accounts/signup/", "/accounts/inactive/"),
    *("/accounts/confirm-email/", "/accounts/password/reset/", "/accounts/login/code/confirm/"),
    *("/accounts/password/reset/done/", "/accounts/password/reset/key/done/"),
    # With the secret of a link in a mail.
    *("/accounts/confirm-email/x/", "/accounts/password/reset/key/x-x/"),
    *("/accounts/2fa/authenticate/", "/accounts/2fa/webauthn/login/"),
}
# What needs no token of a form: a key or a signature says who sends it, or nothing is changed.
FROM_ELSEWHERE = {"/webhooks/stripe", "/csp-report"}
FILLED = {"int": "1", "uuid": "00000000-0000-0000-0000-000000000000", "key": "key_x"}


def addresses(patterns: Sequence[Any], prefix: str = "") -> Iterator[str]:
    """Every address that the resolver knows, with something in place of what it captures."""
    for pattern in patterns:
        text = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, text)
        elif isinstance(pattern, URLPattern):
            yield f"/{filled(text)}"


def filled(text: str) -> str:
    """An address in place of a pattern."""
    text = re.sub(r"\(\?P<\w+>[^()]*(?:\([^()]*\)[^()]*)*\)", "x", text)
    text = re.sub(r"<(?:(\w+):)?\w+>", lambda found: FILLED.get(found[1] or "", "x"), text)
    return re.sub(r"\(\?:[^()]*\)\??|[\^$\\]|/\?$", "", text)


@pytest.mark.django_db
def test_whoever_is_not_signed_in_gets_no_further_than_the_door() -> None:
    known = sorted(set(addresses(get_resolver().url_patterns)))
    assert len(known) > 200
    opened = set()
    for address in known:
        for method in ("GET", "POST"):
            client = Client(raise_request_exception=False)
            answer = client.generic(method, address, "{}", content_type="application/json")
            assert answer.status_code < 500 or address == "/readyz", (method, address)
            if answer.status_code in (401, 403, 404, 405):
                continue
            if answer.status_code == 302 and urlsplit(answer.headers["location"]).path in (
                *("/login", "/admin/login/", "/accounts/login/"),
            ):
                continue
            opened.add(address)
    assert opened - OPEN == set(), "open to everybody and not on the list"


@pytest.mark.django_db
def test_no_form_is_taken_from_another_site() -> None:
    user = signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(user)
    taken = set()
    for address in sorted(set(addresses(get_resolver().url_patterns))):
        # The management API looks for the token itself: tests/api/test_api.py.
        if not address.startswith("/api/v1"):
            answer = client.post(address, {"confirm": "yes"})
            if answer.status_code != 403 or b"open for too long" not in answer.content:
                taken.add(address)
    assert taken == FROM_ELSEWHERE


@pytest.mark.django_db
def test_nobody_was_made_together_with_the_tables() -> None:
    # No administrator with a password that is in the documentation.
    from accounts.models import ApiKey, User

    assert not User.objects.exists()
    assert not ApiKey.objects.exists()
