"""Each part of the dashboard in a real browser, under its strict policy."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from playwright.sync_api import Browser, Route, expect

from embedded import ports
from tests import product as products
from tests.fakes.stripe.process import KEY, SECRET, FakeStripe
from tests.peers.browsing import (
    NARROW,
    WORDS,
    Reader,
    call,
    code_now,
    faults,
    faults_in_every_look,
    link_in_mail,
    open_page,
    outcome,
)
from tests.product import Product

ROOT = Path(__file__).resolve().parents[2]
# Keeps what canvases write, and where.
WRITING = """
window.written = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  window.written.push({ text, x, y });
  return write.call(this, text, x, y);
};
"""
# Where the browser looks at each page. A page of the URLs that is on no list fails.
Places = dict[str, tuple[str, ...]]
PUBLIC: Places = {
    "landing": ("/",),
    "models": ("/models", "/models?q=echo&sort=-input", "/models?q=nothing"),
    "calculator": ("/pricing",),
    "docs": ("/docs",),
    "chapter": ("/docs/quickstart", "/docs/surfaces", "/docs/errors"),
    "api_docs": ("/docs/api",),
    "status": ("/status",),
    "legal": ("/legal/terms",),
    "invitation": ("/invitations/none",),
    "account_login": ("/login",),
    "account_signup": ("/signup",),
    "account_inactive": ("/accounts/inactive/",),
    "account_email_verification_sent": ("/accounts/confirm-email/",),
    "account_confirm_email": ("/accounts/confirm-email/none/",),
    "account_reset_password": ("/accounts/password/reset/",),
    "account_reset_password_done": ("/accounts/password/reset/done/",),
    "account_reset_password_from_key": ("/accounts/password/reset/key/1-none/",),
    "account_reset_password_from_key_done": ("/accounts/password/reset/key/done/",),
    "": ("/no-such-page",),
}
PRIVATE: Places = {
    "overview": ("/dashboard", "/dashboard?show=latency"),
    "quickstart": ("/dashboard/quickstart",),
    "keys": ("/dashboard/keys",),
    "key_create": ("/dashboard/keys/new",),
    "playground": ("/dashboard/playground",),
    "usage": ("/dashboard/usage", "/dashboard/usage?by=key&show=latency"),
    "dashboard_calculator": ("/dashboard/pricing",),
    "logs": ("/dashboard/logs", "/dashboard/logs?id=none"),
    "exports": ("/dashboard/exports",),
    "billing": ("/dashboard/billing", "/dashboard/billing?asset=TOK"),
    "limits": ("/dashboard/limits",),
    "team": ("/dashboard/team",),
    "audit_log": ("/dashboard/team/audit",),
    "settings": ("/dashboard/settings",),
    "account_delete": ("/dashboard/settings/delete",),
    "webhooks": ("/dashboard/settings/webhooks",),
    "account_email": ("/accounts/email/",),
    "account_change_password": ("/accounts/password/change/",),
    "account_reauthenticate": ("/accounts/reauthenticate/",),
    "account_logout": ("/accounts/logout/",),
    "mfa_index": ("/accounts/2fa/",),
    "mfa_activate_totp": ("/accounts/2fa/totp/activate/",),
    "mfa_list_webauthn": ("/accounts/2fa/webauthn/",),
    "mfa_add_webauthn": ("/accounts/2fa/webauthn/add/",),
    "usersessions_list": ("/accounts/sessions/",),
}
# Of staff who have used their second factor.
STAFF: Places = {
    "components": ("/staff/components",),
    "mfa_deactivate_totp": ("/accounts/2fa/totp/deactivate/",),
    "mfa_generate_recovery_codes": ("/accounts/2fa/recovery-codes/generate/",),
    "mfa_reauthenticate": ("/accounts/2fa/reauthenticate/",),
}
# Looked at on the way to them.
MADE = ("key", "receipt", "webhook", "top_up", "mfa_authenticate", "mfa_view_recovery_codes")
PASSKEY = ("mfa_remove_webauthn", "mfa_edit_webauthn", "mfa_reauthenticate_webauthn")
NO_PAGES = {
    "files": ("personal_record", "usage_csv", "export_file", "mfa_download_recovery_codes"),
    "for programs": ("models_json", "gateway_openapi", "management_openapi"),
    "for scripts": ("mfa_login_webauthn",),
    "parts of a page": ("crypto_live", "crypto_pay", "first_request"),
    "lead elsewhere": ("top_up_pay", "account_set_password", "account_confirm_login_code"),
}


def pages_of_the_urls(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> set[str]:
    """The names of all addresses that people open, apart from those of the admin site."""
    found: set[str] = set()
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if route.startswith(("/admin/", "/api/")):
            continue
        if isinstance(pattern, URLResolver):
            found |= pages_of_the_urls(pattern.url_patterns, route)
            continue
        methods = inspect.getclosurevars(inspect.unwrap(pattern.callback, stop=takes)).nonlocals
        if pattern.name and methods.get("request_method_list") != ["POST"]:
            found.add(pattern.name)
    return found


def takes(view: Any) -> bool:
    """Whether it is what says which methods a view takes."""
    return "request_method_list" in inspect.getclosurevars(view).nonlocals


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder, port = tmp_path_factory.mktemp("product"), ports.choose()
    (folder / "legal").mkdir()
    (folder / "legal" / "terms.md").write_text("# Terms\n\nPay first, [ask](/docs) then.\n")
    with FakeStripe(webhook_url=f"http://127.0.0.1:{port}/webhooks/stripe") as fake:
        running = products.launch(
            folder=folder / "var",
            port=port,
            LEGAL_DIR=str(folder / "legal"),
            STRIPE_SECRET_KEY=KEY,
            STRIPE_WEBHOOK_SECRETS=SECRET,
            STRIPE_API_BASE=fake.url,
        )
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

        command = ["/bin/bash", "-c", reader.copy("snippet-curl")]
        curl = subprocess.run(command, capture_output=True, text=True, check=True)
        page.get_by_role("radio", name="Python").check()
        program = [sys.executable, "-c", reader.copy("snippet-python")]
        python = subprocess.run(program, capture_output=True, text=True, check=True)

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


class TestTimes:
    def test_a_click_shows_them_all_in_the_zone_of_the_reader_and_back(
        self, reader: Reader, product: Product
    ) -> None:
        page, button = reader.page, reader.page.get_by_test_id("local-times")
        reader.go("/models")
        expect(button).to_be_hidden()
        reader.sign_in(product.demo["email"], product.demo["password"])
        reader.go("/dashboard/pricing")
        expect(page.locator("[data-with-times]")).to_be_hidden()
        reader.go("/dashboard/team")
        time = page.locator("main time").first
        utc = time.inner_text()
        page.evaluate("document.documentElement.dataset.timeZone = 'Asia/Tokyo'")

        button.click()
        expect(time).to_contain_text("GMT+9")
        expect(time).to_have_attribute("title", f"{utc} UTC")
        button.click()
        expect(time).to_have_text(utc)


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

    def test_the_first_date_is_apart_from_the_zero_beside_it(
        self, reader: Reader, product: Product
    ) -> None:
        page = reader.page
        page.add_init_script(WRITING)
        assert call(product, product.demo["api_key"]).status_code == 200
        reader.sign_in(product.demo["email"], product.demo["password"])
        reader.go("/dashboard/usage")
        expect(page.get_by_test_id("chart").locator("canvas")).to_be_visible()

        words = page.evaluate("window.written")
        [zero] = {each["y"] for each in words if re.fullmatch(r"\$0\.0+", each["text"])}
        [dates] = {each["y"] for each in words if re.fullmatch(r"\d\d-\d\d", each["text"])}
        assert dates - zero >= 12  # from the middle of one to the top of the other

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
    def test_added_used_to_sign_in_and_removed(
        self, browser: Browser, product: Product, axe: str
    ) -> None:
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
        expect(page.locator("#recovery_codes")).to_be_visible()
        wrong = faults_in_every_look(page, axe=axe)

        reader.sign_out()
        reader.go("/login")
        page.locator("#passkey_login").click()
        page.wait_for_url("**/dashboard")

        reader.go("/accounts/2fa/webauthn/")
        expect(page.locator("#main")).to_contain_text("Laptop")
        wrong += faults_in_every_look(page, axe=axe)
        reader.go("/accounts/2fa/webauthn/reauthenticate/")
        wrong += faults_in_every_look(page, axe=axe)
        reader.go("/accounts/2fa/webauthn/")
        page.locator("a[href$='/edit/']").click()
        reader.prove(demo["password"])
        wrong += faults_in_every_look(page, axe=axe)
        reader.go("/accounts/2fa/webauthn/")
        page.locator("a[href$='/remove/']").click()
        wrong += faults_in_every_look(page, axe=axe)
        page.locator("main form button[type=submit]").click()
        expect(page.locator("a[href$='/remove/']")).to_have_count(0)
        reader.context.close()
        assert wrong == []
        assert reader.complaints == []


class TestLooks:
    """No page is too wide or shuts anybody out, in whatever look and language."""

    def test_every_page_of_the_urls_is_looked_at(self) -> None:
        named = pages_of_the_urls(get_resolver().url_patterns)
        elsewhere = {name for names in NO_PAGES.values() for name in names}
        lists = [{*PUBLIC} - {""}, {*PRIVATE}, {*STAFF}, {*MADE}, {*PASSKEY}, elsewhere]

        assert set().union(*lists) == named
        assert sum(map(len, lists)) == len(named)

    def test_to_strangers(self, reader: Reader, axe: str) -> None:
        assert look(reader, axe, PUBLIC) == []

    def test_to_customers(self, reader: Reader, product: Product, axe: str) -> None:
        reader.sign_in(product.demo["email"], product.demo["password"])
        answer = call(product, product.demo["api_key"])
        wrong = look(reader, axe, PRIVATE)
        reader.go(f"/dashboard/logs/{answer.headers['x-request-id']}")
        wrong += faults_in_every_look(reader.page, axe=axe)
        for arrive in (at_a_key, at_its_dialogs, at_a_webhook, at_a_payment):
            arrive(reader)
            wrong += faults_in_every_look(reader.page, axe=axe)
        assert wrong == []

    def test_to_staff(self, reader: Reader, product: Product, axe: str) -> None:
        page, demo = reader.page, product.demo
        reader.go("/login")
        page.locator("[name=login]").fill(demo["staff_email"])
        page.locator("[name=password]").fill(demo["staff_password"])
        page.locator("#submit-login").click()
        page.wait_for_url("**/2fa/authenticate/**")
        wrong = faults_in_every_look(page, axe=axe)
        page.locator("[name=code]").fill(code_now(demo["staff_totp_secret"]))
        page.locator("main form button[type=submit]").first.click()
        page.wait_for_url("**/dashboard")
        assert wrong + look(reader, axe, STAFF) == []

    @pytest.mark.parametrize("language", ["de", "ru"])
    def test_in_other_languages_on_a_telephone(
        self, browser: Browser, product: Product, axe: str, language: str
    ) -> None:
        narrow = {"width": NARROW, "height": 740}
        reader = open_page(browser, product, viewport=narrow, locale=language)
        wrong: list[str] = []
        for path, *_others in PUBLIC.values():
            reader.go(path)
            wrong += faults(reader.page, width=NARROW, axe=axe, rules=WORDS)
        reader.sign_in(product.demo["email"], product.demo["password"])
        try:
            speak(reader, language)
            for path, *_others in PRIVATE.values():
                reader.go(path)
                assert reader.page.locator("html").get_attribute("lang") == language
                wrong += faults(reader.page, width=NARROW, axe=axe, rules=WORDS)
        finally:
            speak(reader, "en")
        reader.context.close()
        assert wrong == []
        assert reader.complaints == []


def look(reader: Reader, axe: str, places: Places) -> list[str]:
    """What is wrong with pages, in every look."""
    wrong: list[str] = []
    for path in (path for paths in places.values() for path in paths):
        reader.go(path)
        wrong += faults_in_every_look(reader.page, axe=axe)
    return wrong


def speak(reader: Reader, language: str) -> None:
    """Choose the language of the interface."""
    reader.go("/dashboard/settings")
    form = reader.page.get_by_test_id("profile-form")
    form.locator("[name=language]").select_option(language)
    reader.page.get_by_test_id("save-profile").click()
    expect(reader.page.locator("html")).to_have_attribute("lang", language)


def at_a_key(reader: Reader) -> None:
    """The page of one of one's keys."""
    reader.go("/dashboard/keys")
    reader.page.get_by_test_id("key-name").filter(has_text="Demo").click()
    expect(reader.page.get_by_test_id("rotate-key")).to_be_visible()


def at_its_dialogs(reader: Reader) -> None:
    """What asks before something is lost."""
    reader.page.get_by_test_id("delete-key").click()
    expect(reader.page.get_by_test_id("delete-name")).to_be_visible()


def at_a_webhook(reader: Reader) -> None:
    """The page of a new webhook, past its secret."""
    reader.go("/dashboard/settings/webhooks")
    form = reader.page.get_by_test_id("webhook-form")
    form.locator("[name=url]").fill("https://hooks.example.com/")
    form.locator("input[type=checkbox]").first.check()
    reader.page.get_by_test_id("create-webhook").click()
    expect(reader.page.get_by_test_id("webhook-secret")).to_be_visible()
    reader.go("/dashboard/settings/webhooks")
    reader.page.get_by_test_id("webhooks").get_by_role("link").first.click()
    expect(reader.page.get_by_test_id("test-webhook")).to_be_visible()


def at_a_payment(reader: Reader) -> None:
    """The page that waits for money."""
    reader.go("/dashboard/billing")
    reader.page.locator("[name=amount]").first.fill("25")
    reader.page.get_by_test_id("top-up").click()
    reader.page.get_by_test_id("pay").wait_for()
    reader.go("/dashboard/billing")
    reader.page.get_by_test_id("payments").get_by_role("link").first.click()
    expect(reader.page.get_by_test_id("top-up-state")).to_be_visible()


class TestApiReference:
    def test_shows_both_documents_under_the_policy(self, reader: Reader) -> None:
        reader.go("/docs/api")
        page = reader.page
        expect(page.get_by_test_id("management-operations")).to_contain_text("/api/v1/keys")
        page.get_by_test_id("open-swagger").click()

        expect(page.get_by_role("heading", name="Tollgate management API")).to_be_visible()
        page.locator("#operations-tag-keys, [data-tag='keys']").first.click()
        expect(page.locator(".opblock").first).to_be_visible()
        page.get_by_label("Select a definition").select_option(index=1)
        expect(page.get_by_role("heading", name="Tollgate gateway")).to_be_visible()
