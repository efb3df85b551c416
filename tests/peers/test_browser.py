"""Each part of the dashboard in a real browser, under its strict policy."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from tests import product as products
from tests.peers.browsing import Reader, call, faults, link_in_mail, open_page, outcome
from tests.product import Product

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = (
    "/",
    "/models",
    "/pricing",
    "/docs/quickstart",
    "/docs/surfaces",
    "/docs/errors",
    "/status",
    "/login",
    "/signup",
    "/accounts/password/reset/",
    "/no-such-page",
)
PRIVATE = (
    "/dashboard",
    "/dashboard/keys",
    "/dashboard/keys/new",
    "/dashboard/quickstart",
    "/dashboard/playground",
    "/dashboard/usage",
    "/dashboard/usage?by=key&show=latency",
    "/dashboard/pricing",
    "/dashboard/logs",
    "/dashboard/exports",
    "/dashboard/billing",
    "/dashboard/limits",
    "/dashboard/team",
    "/dashboard/team/audit",
    "/dashboard/settings",
    "/dashboard/settings/delete",
    "/dashboard/settings/webhooks",
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/2fa/",
    "/accounts/sessions/",
)
LOOKS = [(width, scheme) for width in (1280, 360) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = products.launch(folder=tmp_path_factory.mktemp("product") / "var")
    yield running
    running.interrupt()


@pytest.fixture
def reader(browser: Browser, product: Product) -> Iterator[Reader]:
    reader = open_page(browser, product)
    yield reader
    reader.page.context.close()
    assert reader.complaints == []


class TestQuickstart:
    def test_the_snippets_run_as_they_are_copied(self, reader: Reader, product: Product) -> None:
        page = reader.page
        reader.sign_in(product.demo["email"], product.demo["password"])
        reader.go("/dashboard/quickstart")
        page.get_by_test_id("quickstart-create-key").click()

        page.get_by_test_id("snippet-curl").click()
        curl = subprocess.run(
            ["/bin/bash", "-c", reader.copied()], capture_output=True, text=True, check=True
        )
        page.get_by_role("radio", name="Python").check()
        page.get_by_test_id("snippet-python").click()
        python = subprocess.run(
            [sys.executable, "-c", reader.copied()],
            capture_output=True,
            text=True,
            check=True,
        )

        assert "Say hello" in curl.stdout
        assert python.stdout.strip() == "Say hello"


class TestKeys:
    def test_made_stopped_started_rotated_deleted(self, reader: Reader, product: Product) -> None:
        page = reader.page
        reader.sign_in(product.demo["email"], product.demo["password"])
        reader.go("/dashboard/keys/new")
        page.get_by_label("Name").fill("Night job")
        page.get_by_text("Limits and expiry").click()
        page.get_by_label("Limit per day, USD").fill("2.50")
        page.get_by_test_id("create-key").click()
        secret = page.get_by_test_id("secret").inner_text()
        page.get_by_test_id("saved-secret").click()
        row = page.get_by_test_id("key").filter(has_text="Night job")
        expect(row).to_contain_text("of $2.50")
        assert outcome(call(product, secret)) == "200"

        row.get_by_test_id("disable-key").click()
        expect(row.get_by_test_id("key-state")).to_have_text("disabled")
        refused = call(product, secret)
        assert (refused.status_code, refused.json()["error"]["reason"]) == (401, "key_disabled")

        row.get_by_test_id("enable-key").click()
        expect(row.get_by_test_id("key-state")).to_have_text("active")
        # A gateway keeps what it read of a key for some seconds.
        products.until(lambda: call(product, secret).status_code == 200, within_s=15)

        row.get_by_test_id("key-name").click()
        page.get_by_test_id("rotate-key").click()
        page.get_by_label("The old key stops working").select_option(label="At once")
        page.get_by_test_id("rotate-confirm").click()
        successor = page.get_by_test_id("secret").inner_text()
        assert outcome(call(product, secret)) == "401 key_expired"
        assert outcome(call(product, successor)) == "200"

        page.get_by_test_id("saved-secret").click()
        page.get_by_test_id("key-name").filter(has_text="Night job").first.click()
        page.get_by_test_id("delete-key").click()
        page.get_by_test_id("delete-name").fill("night job")
        expect(page.get_by_test_id("delete-confirm")).to_be_disabled()
        page.get_by_test_id("delete-name").fill("Night job")
        page.get_by_test_id("delete-confirm").click()
        expect(page.get_by_test_id("toasts")).to_contain_text("deleted")
        assert outcome(call(product, successor)) == "401 invalid_api_key"


def slowly(route: Route) -> None:
    """Let the sandbox think for a while before each word, so that there is time to stop it."""
    asked = (route.request.post_data_json or {}) | {"sandbox": {"chunk_delay_ms": 50}}
    route.continue_(post_data=json.dumps(asked))


class TestPlayground:
    def test_a_run_says_what_it_cost_also_when_it_is_stopped(
        self, reader: Reader, product: Product
    ) -> None:
        page = reader.page
        reader.sign_in(product.demo["email"], product.demo["password"])
        reader.go("/dashboard/playground")
        page.get_by_test_id("message").fill("one two three")
        page.get_by_test_id("run-chat").click()
        expect(page.get_by_test_id("message-assistant")).to_contain_text("one two three")
        cost = page.get_by_test_id("run-cost")
        expect(cost).to_have_text(re.compile(r"\$0\.0000\d+"))

        page.get_by_test_id("model").select_option("sandbox/lorem")
        page.get_by_test_id("limit").fill("4000")
        page.route("**/v1/chat/completions", slowly)
        page.get_by_test_id("message").fill("on and on")
        page.get_by_test_id("run-chat").click()
        expect(page.get_by_test_id("message-assistant").last).to_contain_text("lorem")
        page.get_by_test_id("stop").click()
        stopped = page.get_by_test_id("run").first
        expect(stopped).to_contain_text("stopped")
        expect(stopped.get_by_test_id("run-cost")).to_have_text(re.compile(r"\$0\.\d{6,}"))
        stopped.get_by_role("link").click()
        expect(page.get_by_test_id("receipt-price")).to_be_visible()

    def test_a_picture_is_painted_on_the_page(self, reader: Reader, product: Product) -> None:
        page = reader.page
        reader.sign_in(product.demo["email"], product.demo["password"])
        reader.go("/dashboard/playground")
        page.get_by_test_id("picture-prompt").fill("a cat")
        page.get_by_test_id("paint").click()
        expect(page.get_by_test_id("picture")).to_be_visible()
        expect(page.get_by_test_id("run-cost")).to_have_text(re.compile(r"\$0\.0\d+"))


class TestUsage:
    def test_the_chart_is_drawn_from_what_was_used(self, reader: Reader, product: Product) -> None:
        page = reader.page
        assert call(product, product.demo["api_key"]).status_code == 200
        reader.sign_in(product.demo["email"], product.demo["password"])
        page.get_by_test_id("nav-usage").click()

        expect(page.get_by_test_id("chart").locator("canvas")).to_be_visible()
        expect(page.get_by_test_id("chart")).to_contain_text("sandbox/echo")
        with page.expect_download() as download:
            page.get_by_test_id("usage-csv").click()
        assert "sandbox/echo" in download.value.path().read_text()

    def test_a_file_of_the_logs_is_built_while_one_waits(
        self, reader: Reader, product: Product
    ) -> None:
        page = reader.page
        answer = call(product, product.demo["api_key"])
        reader.sign_in(product.demo["email"], product.demo["password"])
        page.get_by_test_id("nav-logs").click()
        page.get_by_test_id("export-logs").click()

        with page.expect_download() as download:
            page.get_by_test_id("download").first.click(timeout=30_000)
        assert answer.headers["x-request-id"] in download.value.path().read_text()


class TestCalculator:
    def test_the_price_follows_what_is_typed(self, reader: Reader) -> None:
        page = reader.page
        reader.go("/pricing")
        address = page.url
        page.get_by_test_id("calculator-model").select_option("sandbox/echo")
        page.get_by_test_id("calculator-output").fill("1000000")

        expect(page.get_by_test_id("quote")).to_have_text("$2.001000")
        assert page.url == address


class TestTeam:
    def test_a_colleague_is_invited_and_joins(
        self, browser: Browser, reader: Reader, product: Product
    ) -> None:
        page = reader.page
        reader.sign_in(product.demo["email"], product.demo["password"])
        page.get_by_test_id("nav-team").click()
        page.get_by_test_id("invite-email").fill("staff@example.com")
        page.get_by_test_id("invite").click()
        expect(page.get_by_test_id("invitation")).to_contain_text("staff@example.com")

        other = open_page(browser, product)
        other.page.goto(link_in_mail(product, to="staff@example.com"))

        expect(other.page.locator("#main")).to_contain_text("Personal")
        assert other.complaints == []
        other.page.context.close()


PASSKEYS = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


class TestPasskeys:
    def test_added_used_to_sign_in_and_removed(self, browser: Browser, product: Product) -> None:
        reader = open_page(browser, product)
        # A passkey belongs to a name, never to a bare address (WebAuthn, "effective domain").
        reader.base_url = reader.base_url.replace("127.0.0.1", "localhost")
        page, demo = reader.page, product.demo
        authenticator = reader.context.new_cdp_session(page)
        authenticator.send("WebAuthn.enable")
        authenticator.send("WebAuthn.addVirtualAuthenticator", {"options": PASSKEYS})

        reader.sign_in(demo["email"], demo["password"])
        reader.go("/accounts/2fa/webauthn/add/")
        reader.prove(demo["password"])
        page.locator("[name=name]").fill("Laptop")
        page.locator("[name=passwordless]").check()
        page.locator("#mfa_webauthn_add").click()
        page.wait_for_url("**/recovery-codes/**")

        reader.sign_out()
        reader.go("/login")
        page.locator("#passkey_login").click()
        page.wait_for_url("**/dashboard")

        reader.go("/accounts/2fa/webauthn/")
        expect(page.locator("#main")).to_contain_text("Laptop")
        page.locator("a[href$='/remove/']").click()
        reader.prove(demo["password"])
        page.locator("main form button[type=submit]").click()
        expect(page.locator("a[href$='/remove/']")).to_have_count(0)
        reader.context.close()
        assert reader.complaints == []


class TestLooks:
    @pytest.mark.parametrize(("width", "scheme"), LOOKS)
    def test_no_page_overflows_or_shuts_anybody_out(
        self, browser: Browser, product: Product, axe: str, width: int, scheme: str
    ) -> None:
        look = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
        reader = open_page(browser, product, **look)
        wrong: list[str] = []
        for path in PUBLIC:
            reader.go(path)
            wrong += faults(reader.page, width=width, axe=axe)
        reader.sign_in(product.demo["email"], product.demo["password"])
        answer = call(product, product.demo["api_key"])
        for path in (*PRIVATE, f"/dashboard/logs/{answer.headers['x-request-id']}"):
            reader.go(path)
            wrong += faults(reader.page, width=width, axe=axe)
        reader.page.context.close()

        assert wrong == []
        assert reader.complaints == []


class TestApiReference:
    def test_shows_both_documents_under_the_policy(self, reader: Reader) -> None:
        reader.go("/docs/api")
        page = reader.page

        expect(page.get_by_role("heading", name="Tollgate management API")).to_be_visible()
        page.locator("#operations-tag-keys, [data-tag='keys']").first.click()
        expect(page.locator(".opblock").first).to_be_visible()
        page.get_by_label("Select a definition").select_option(index=1)
        expect(page.get_by_role("heading", name="Tollgate gateway")).to_be_visible()
