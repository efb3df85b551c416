"""What went wrong elsewhere, by its advisory: each has a test, here or where its subject is."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from django.test import Client

from accounts import signup
from proxy.auth import mark
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

ROOT = Path(__file__).resolve().parents[2]
HERE = "security/test_advisories.py"
TESTED = {
    "CVE-2026-42208": (HERE, "test_a_key_is_never_part_of_a_statement"),
    "CVE-2026-47101": ("api/test_rights.py", "test_no_sequence_of_calls_gives_more_rights"),
    "CVE-2026-47102": (
        "api/test_rights.py",
        "test_a_key_widens_neither_itself_nor_what_it_made",
    ),
    "CVE-2026-35030": (HERE, "test_a_kept_key_is_known_by_all_of_it"),
    "PYSEC-2026-388": (HERE, "test_neither_host_nor_spelling_of_a_path_opens_a_door"),
    "CVE-2026-114612": ("proxy/test_health.py", "test_equal_secrets_are_told"),
    "CVE-2024-6587": (HERE, "test_no_field_of_a_caller_turns_a_call_elsewhere"),
    "CVE-2026-12796": (HERE, "test_a_session_ends_with_its_sign_out"),
    "CVE-2025-11203": (HERE, "test_health_tells_strangers_nothing"),
    "CVE-2026-41432": ("billing/stripe/test_events.py", "test_what_is_not_signed_is_refused"),
    "GHSA-9f46-w24h-69w4": (
        "accounts/test_egress.py",
        "test_a_redirect_is_an_answer_and_is_not_followed",
    ),
    "CVE-2025-59305": ("api/test_api.py", "test_an_endpoint_without_a_policy_refuses_to_start"),
    "CVE-2026-35192": (HERE, "test_pages_of_who_is_signed_in_are_not_kept"),
    "CVE-2025-43859": (
        "security/test_repository.py",
        "test_dependencies_are_newer_than_known_holes",
    ),
}


@pytest.mark.parametrize("advisory", TESTED)
def test_each_advisory_has_a_test_that_exists(advisory: str) -> None:
    path, name = TESTED[advisory]
    assert f"def {name}(" in (ROOT / "tests" / path).read_text()


@pytest.mark.parametrize(
    "key",
    [
        "sk-tg-' or '1'='1",
        "sk-tg-'; drop table accounts_apikey; --",
        "sk-tg-\\' union select 1 --",
        "sk-tg-%27%20or%201=1",
    ],
)
def test_a_key_is_never_part_of_a_statement(
    shop: Shop,  # noqa: F811
    key: str,
) -> None:
    with GatewayServer() as gateway, gateway.client(key) as client:
        answer = client.post("/v1/chat/completions", json=hello())
    assert answer.status_code == 401
    assert shop.usage == []


def test_a_kept_key_is_known_by_all_of_it() -> None:
    key = "sk-tg-" + "a" * 200
    assert mark(key) != mark(key[:-1])
    assert mark(key + "b") != mark(key + "c")


def test_neither_host_nor_spelling_of_a_path_opens_a_door(
    shop: Shop,  # noqa: F811
) -> None:
    paths = ("/v1/../api/v1/keys", "//v1/models", "/v1/models;x", "/%2e%2e/v1/models", "/V1/models")
    hosts = ("x", "127.0.0.1/v1/models?", "evil.example/livez?", "livez")
    with GatewayServer() as gateway:
        address, port = gateway.url.removeprefix("http://").split(":")
        for path in ("/v1/models", *paths):
            for host in hosts:
                with socket.create_connection((address, int(port)), timeout=5) as connection:
                    request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
                    connection.sendall(request.encode())
                    answer = connection.recv(65536).decode("latin-1")
                status = re.match(r"HTTP/1.1 (\d+)", answer)
                assert status is not None
                assert int(status[1]) >= 300, (path, host)
                assert "test/tokens" not in answer


def test_no_field_of_a_caller_turns_a_call_elsewhere(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
) -> None:
    with FakeUpstream() as elsewhere, GatewayServer() as gateway:
        with gateway.client(shop.secret) as client:
            for name in ("api_base", "base_url", "api_key", "extra_headers", "organization"):
                client.post("/v1/chat/completions", json=hello() | {name: elsewhere.base_url})
        assert elsewhere.calls == []
        for call in upstream.calls:
            assert elsewhere.base_url not in call.raw.decode()


def test_a_session_ends_with_its_sign_out() -> None:
    user = signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
    client, thief = Client(), Client()
    client.force_login(user)
    for name, morsel in client.cookies.items():
        thief.cookies[name] = morsel.value
    assert thief.get("/login").status_code == 302, "signed in"
    client.logout()
    assert thief.get("/login").status_code == 200, "not signed in any more"


def test_health_tells_strangers_nothing() -> None:
    assert set(Client().get("/readyz").json()) == {"status"}


def test_pages_of_who_is_signed_in_are_not_kept() -> None:
    user = signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
    client = Client()
    client.force_login(user)
    answer = client.get("/dashboard/quickstart", follow=True)
    assert answer.status_code == 200
    assert "Cookie" in answer.headers.get("Vary", "") or "no-store" in answer.headers.get(
        "Cache-Control", ""
    )
