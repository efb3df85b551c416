"""What went wrong elsewhere, by its advisory: each has a test, here or where its subject is."""

from __future__ import annotations

import hmac
import re
import socket
import time
from html import unescape
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client
from pytest_django import Settings

from accounts import egress, signup
from accounts.models import User, Workspace
from accounts.models_webhook import WebhookEndpoint
from billing.models_funding import StripeEvent
from proxy.auth import mark
from proxy.models import Model, Provider
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
CODE = "security/test_code.py"
DOORS = "security/test_doors.py"
STOCK = "security/test_repository.py"
FLOOR = (STOCK, "test_dependencies_are_newer_than_known_holes")
# Each advisory: where its tests are, or the step of continuous integration that looks for it.
TESTED: dict[str, list[tuple[str, str]]] = {
    "CVE-2026-42208": [(HERE, "test_a_key_is_never_part_of_a_statement")],
    "CVE-2026-47101": [("api/test_rights.py", "test_no_sequence_of_calls_gives_more_rights")],
    "CVE-2026-47102": [
        ("api/test_rights.py", "test_a_key_widens_neither_itself_nor_what_it_made"),
        ("api/test_fields.py", "TestEveryWritableEndpoint"),
    ],
    "CVE-2026-40217": [
        (CODE, "test_no_text_becomes_a_program"),
        (CODE, "test_no_file_is_taken_from_a_caller"),
    ],
    "CVE-2026-35029": [
        (CODE, "test_no_request_changes_the_configuration"),
        (HERE, "test_the_configuration_is_no_endpoint"),
    ],
    "CVE-2026-35030": [(HERE, "test_a_kept_key_is_known_by_all_of_it")],
    "PYSEC-2026-388": [(HERE, "test_neither_host_nor_spelling_of_a_path_opens_a_door")],
    "CVE-2026-114612": [
        ("proxy/test_health.py", "test_equal_secrets_are_told"),
        (CODE, "test_each_secret_has_one_purpose"),
    ],
    "CVE-2024-6587": [(HERE, "test_no_field_of_a_caller_turns_a_call_elsewhere")],
    "CVE-2026-42203": [
        (CODE, "test_no_text_becomes_a_template"),
        (HERE, "test_a_template_in_a_name_is_a_name"),
    ],
    "CVE-2026-12796": [(HERE, "test_a_session_ends_with_its_sign_out")],
    "CVE-2025-11203": [(HERE, "test_health_tells_strangers_nothing")],
    "LiteLLM 1.82.7 and 1.82.8": [
        (STOCK, "test_every_locked_package_has_its_hashes"),
        (STOCK, "test_nothing_unknown_runs_at_each_start_of_python"),
        (STOCK, "test_every_script_of_the_browser_has_its_hash"),
        ("CI", "audit"),
    ],
    "CVE-2026-41432": [
        ("billing/stripe/test_events.py", "test_what_is_not_signed_is_refused"),
        (HERE, "test_a_webhook_without_a_signature_is_refused"),
    ],
    "GHSA-5353-f8fq-65vc": [(HERE, "test_a_second_factor_that_exists_is_not_one_that_was_shown")],
    "GHSA-9f46-w24h-69w4": [
        ("accounts/test_egress.py", "test_a_redirect_is_an_answer_and_is_not_followed")
    ],
    "one-api 2388": [(HERE, "test_no_picture_is_fetched_by_us")],
    "one-api root/123456": [(DOORS, "test_nobody_was_made_together_with_the_tables")],
    "one-api without SECURITY.md": [(HERE, "test_there_is_a_private_way_to_report")],
    "CVE-2025-59305": [
        ("api/test_api.py", "test_an_endpoint_without_a_policy_refuses_to_start"),
        ("api/test_matrix.py", "test_a_stranger_is_let_in_nowhere"),
    ],
    "CVE-2026-24055": [
        (DOORS, "test_whoever_is_not_signed_in_gets_no_further_than_the_door"),
        ("api/test_matrix.py", "test_nobody_at_all_is_let_in_nowhere"),
    ],
    "CVE-2026-110765": [(HERE, "test_a_webhook_without_a_signature_is_refused")],
    "CVE-2026-65840": [
        ("api/test_matrix.py", "test_a_key_of_one_reaches_nothing_of_the_other"),
        ("api/test_matrix.py", "test_a_list_of_one_shows_nothing_of_the_other"),
    ],
    "PYSEC-2026-3857": [(HERE, "test_a_relative_address_is_no_address_of_a_webhook")],
    "CVE-2026-33034": [FLOOR, ("config/test_bodies.py", "test_every_path_of_django_is_behind_it")],
    "CVE-2026-5766": [FLOOR, ("security/test_wire.py", "TestSizes")],
    "CVE-2026-35192": [(HERE, "test_pages_of_who_is_signed_in_are_not_kept")],
    "CVE-2026-42544": [(STOCK, "test_the_server_is_the_one_that_was_chosen")],
    "CVE-2026-42545": [(STOCK, "test_the_server_is_the_one_that_was_chosen")],
    "CVE-2025-43859": [FLOOR],
    "CVE-2026-128131": [FLOOR],
    "CVE-2025-49844": [("ops/test_redis.py", "test_a_redis_with_a_known_hole_is_told")],
}


@pytest.mark.parametrize("advisory", TESTED)
def test_each_advisory_has_a_test_that_exists(advisory: str) -> None:
    assert TESTED[advisory]
    for path, name in TESTED[advisory]:
        if path == "CI":
            assert f"\nstep {name} " in (ROOT / ".ci" / "run").read_text()
            continue
        text = (ROOT / "tests" / path).read_text()
        assert f"def {name}(" in text or f"class {name}:" in text, (path, name)


def test_the_policy_lists_what_is_tested_and_nothing_else() -> None:
    written = (ROOT / "SECURITY.md").read_text().partition("## What went wrong elsewhere")[2]
    listed = [line.split("|")[1] for line in written.splitlines() if line.startswith("| ")][1:]

    assert {each.strip() for line in listed for each in line.split(",")} == set(TESTED)


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
                with socket.create_connection((address, int(port)), timeout=30) as connection:
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
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Cookie" in answer.headers["Vary"]


def test_the_configuration_is_no_endpoint(shop: Shop) -> None:  # noqa: F811
    _, secret = shop.new_key(scopes=["keys:manage", "members:manage", "billing:manage"])
    paths = (
        *("/config/update", "/config/yaml", "/model/new", "/model/update", "/settings"),
        *("/api/v1/config", "/api/v1/settings", "/v1/config", "/v1/config/update"),
    )
    with GatewayServer() as gateway, gateway.client(secret) as client:
        for path in paths:
            for method in ("GET", "POST", "PUT", "PATCH"):
                answer = client.request(method, path, json={"environment_variables": {"A": "b"}})
                assert answer.status_code in (404, 405), (method, path)


def test_a_template_in_a_name_is_a_name() -> None:
    name = "{{ 7|add:35 }}{% debug %}${7*6}<%= 42 %>#{6*7}"
    user = signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
    Workspace.objects.filter(personal_of=user).update(name=name)
    client = Client()
    client.force_login(user)
    page = client.get("/dashboard/settings").content.decode()
    assert "{{ 7|add:35 }}{% debug %}${7*6}" in unescape(page)
    assert "INSTALLED_APPS" not in page


@pytest.mark.parametrize("secrets", [["whsec_one"], [""], []])
def test_a_webhook_without_a_signature_is_refused(settings: Settings, secrets: list[str]) -> None:
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRETS = "sk_test_x", secrets
    body = b'{"id": "evt_1", "object": "event", "type": "checkout.session.completed"}'
    at = int(time.time())
    forged = hmac.new(b"", f"{at}.".encode() + body, "sha256").hexdigest()
    for headers in ({}, {"stripe-signature": ""}, {"stripe-signature": f"t={at},v1={forged}"}):
        answer = Client().post("/webhooks/stripe", body, "application/json", headers=headers)
        assert answer.status_code in (400, 404), headers
    assert not StripeEvent.objects.exists()


def test_a_second_factor_that_exists_is_not_one_that_was_shown() -> None:
    staff = User.objects.create_superuser(email="s@example.com", password="a-long-pass-word")
    EmailAddress.objects.create(user=staff, email=staff.email, verified=True, primary=True)
    TOTP.activate(staff, generate_totp_secret())
    client = Client()
    client.force_login(staff)
    for path in ("/admin/", "/admin/accounts/user/", "/admin/billing/"):
        assert client.get(path).status_code != 200, path
    client = Client()
    client.post("/login", {"login": staff.email, "password": "a-long-pass-word"})
    for path in ("/admin/", "/admin/accounts/user/", "/admin/billing/"):
        assert client.get(path).status_code != 200, path


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini"])
def test_no_picture_is_fetched_by_us(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    kind: str,
) -> None:
    base = {"openai": upstream.base_url, "anthropic": upstream.url, "gemini": upstream.url}[kind]
    Provider.objects.update(kind=kind, base_url=base)
    Model.objects.update(capabilities=["vision"], max_image_tokens=100)
    with FakeUpstream() as elsewhere, GatewayServer() as gateway:
        for address in (f"{elsewhere.url}/a.png", "http://169.254.169.254/latest/meta-data"):
            picture = {"type": "image_url", "image_url": {"url": address}}
            body = hello() | {"messages": [{"role": "user", "content": [picture]}]}
            with gateway.client(shop.secret) as client:
                answer = client.post("/v1/chat/completions", json=body)
            assert answer.status_code in (200, 400, 502), answer.text
        assert elsewhere.calls == []


def test_a_relative_address_is_no_address_of_a_webhook() -> None:
    user = signup.register(email="a@example.com", password="a-long-pass-word", verified=True)
    workspace = Workspace.objects.get(personal_of=user)
    client = Client()
    client.force_login(user)
    for url in ("/api/v1/keys", "api/v1/keys", "//127.0.0.1/", "./x", "?x", "#x", "asgi://x/"):
        answer = client.post(
            "/api/v1/webhooks",
            {"url": url, "events": ["key.created"]},
            "application/json",
            headers={"x-workspace-id": workspace.public_id},
        )
        assert answer.status_code == 400, (url, answer.content)
        with pytest.raises(egress.BadUrl):
            egress.parse(url)
    assert not WebhookEndpoint.objects.exists()


def test_there_is_a_private_way_to_report() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert "report privately" in text
    assert "Report a vulnerability" in text
