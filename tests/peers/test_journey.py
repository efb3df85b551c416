"""One person's whole way through the product, in a browser that is told to be strict."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Locator, expect

from embedded import ports
from tests import product as products
from tests.fakes.stripe.process import KEY, SECRET, FakeStripe
from tests.peers.browsing import (
    PASSWORD,
    Reader,
    call,
    code_now,
    link_in_mail,
    open_page,
    outcome,
)
from tests.product import Product

LANGUAGES = [code for code, _name in settings.LANGUAGES]
NARROW = {"width": 360, "height": 740}
AT_ONCE = "0"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The product beside a stand-in for Stripe."""
    port = ports.choose()
    with FakeStripe(webhook_url=f"http://127.0.0.1:{port}/webhooks/stripe") as fake:
        running = products.launch(
            folder=tmp_path_factory.mktemp("journey") / "var",
            port=port,
            STRIPE_SECRET_KEY=KEY,
            STRIPE_WEBHOOK_SECRETS=SECRET,
            STRIPE_API_BASE=fake.url,
        )
        yield running
        running.interrupt()


@dataclass
class Journey:
    """Where somebody is on their way, and what they took along."""

    product: Product
    browser: Browser
    reader: Reader
    email: str
    key: str = ""
    colleague: str = "colleague@example.com"

    def see(self, name: str) -> Locator:
        """What carries a name for tests, in whatever language it is."""
        return self.reader.page.get_by_test_id(name)

    def sign_up(self) -> None:
        """From the front page to the Overview; without the link there are no keys."""
        self.reader.go("/")
        self.see("to-signup").click()
        self.reader.sign_up(self.email)
        expect(self.see("banner-unverified")).to_be_visible()
        self.see("nav-keys").click()
        expect(self.see("new-key")).to_have_count(0)

    def verify(self) -> None:
        """By the link in the mail."""
        self.reader.confirm(link_in_mail(self.product, to=self.email))
        expect(self.see("banner-unverified")).to_have_count(0)
        expect(self.see("available")).not_to_have_text("$0.00")

    def set_language(self, language: str) -> None:
        """The page that answers is in it already."""
        self.see("nav-settings").click()
        self.see("profile-form").locator("[name=language]").select_option(language)
        self.see("save-profile").click()
        expect(self.see("toasts")).not_to_be_empty()
        expect(self.reader.page.locator("html")).to_have_attribute("lang", language)

    def create_key(self) -> None:
        """On the way of the quickstart; it is shown once and copied."""
        self.see("nav-quickstart").click()
        expect(self.see("step-seen").get_by_test_id("done")).to_have_count(0)
        self.see("quickstart-create-key").click()
        self.key = self.see("secret").inner_text()
        self.see("copy-secret").click()
        expect(self.see("copy-secret")).to_have_attribute("data-said", "yes")
        assert self.reader.copied() == self.key

    def run_the_call(self) -> None:
        """The command on the page, as it is copied; the page sees it arrive by itself."""
        command = ["/bin/bash", "-c", self.reader.copy("snippet-curl")]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "Say hello" in said.stdout
        expect(self.see("step-seen").get_by_test_id("done")).to_be_visible()
        self.see("to-overview").click()
        expect(self.see("request")).to_have_count(1)
        price = self.see("price").inner_text()
        assert re.fullmatch(r"\$\d+\.\d{6,9}", price)
        assert Decimal(price[1:]) > 0
        self.see("nav-keys").click()
        assert self.key not in self.reader.page.content()

    def top_up(self) -> None:
        """By card, on the page of the processor; it is usable at once."""
        self.see("nav-billing").click()
        page = self.reader.page
        page.locator("[name=amount]").first.fill("25")
        self.see("top-up").click()
        self.see("pay").click()
        expect(page.locator("[data-status=paid]")).to_be_visible()
        expect(self.see("balance-usd")).to_contain_text("$29.99")

    def watch_the_chart(self) -> None:
        """Another call, and today's bar is taller."""
        before = self._drawn_today()
        assert outcome(call(self.product, self.key)) == "200"
        assert self._drawn_today() > before > 0

    def _drawn_today(self) -> float:
        self.see("nav-usage").click()
        chart = self.see("chart").first
        expect(chart.locator("canvas")).to_be_visible()
        source = self.reader.page.locator(f"#{chart.get_attribute('data-chart')}")
        facts: dict[str, Any] = json.loads(source.text_content() or "")
        return float(sum(series["values"][-1] for series in facts["series"]))

    def hit_the_cap(self) -> None:
        """A cap of the workspace is felt by the next call, and taken away again."""
        self._cap("0.000001")
        assert "cap_reached" in outcome(call(self.product, self.key))
        self.see("nav-overview").click()
        expect(self.see("banner-day-cap")).to_be_visible()
        self._cap("100")
        assert outcome(call(self.product, self.key)) == "200"

    def _cap(self, usd: str) -> None:
        self.see("nav-limits").click()
        form = self.see("caps-form")
        form.locator("[name=daily]").fill(usd)
        self.see("save-caps").click()
        expect(self.see("toasts").locator(".banner-success")).to_be_visible()

    def export(self) -> None:
        """The requests of the logs as a file, built while one waits."""
        self.see("nav-logs").click()
        wanted = self.see("request-id").first.inner_text()
        self.see("export-logs").click()
        with self.reader.page.expect_download() as download:
            self.see("download").first.click()
        assert wanted in download.value.path().read_text()

    def invite(self) -> None:
        """A colleague who has no account yet signs up on the way and joins."""
        self.see("nav-team").click()
        self.see("invite-email").fill(self.colleague)
        self.see("invite").click()
        expect(self.see("invitation")).to_contain_text(self.colleague)
        link = link_in_mail(self.product, to=self.colleague)
        other = open_page(self.browser, self.product)
        other.sign_up(self.colleague)
        other.confirm(link_in_mail(self.product, to=self.colleague))
        other.page.goto(link)
        other.page.get_by_test_id("accept-invitation").click()
        other.page.wait_for_url("**/dashboard")
        expect(other.page.get_by_test_id("workspace").locator("option")).to_have_count(2)
        self.reader.complaints += other.complaints
        other.context.close()
        self.reader.page.reload()
        expect(self.see("member")).to_have_count(2)

    def enable_totp(self) -> None:
        """With an authenticator; the next sign-in asks for a second factor."""
        page = self.reader.page
        self.see("nav-settings").click()
        self.see("to-mfa").click()
        page.locator("main a[href$='/totp/activate/']").click()
        self.reader.prove()
        secret = page.locator("#authenticator_secret").input_value()
        page.locator("[name=code]").fill(code_now(secret))
        page.locator("main form button[type=submit]").click()
        page.wait_for_url("**/recovery-codes/**")
        recovery = page.locator("#recovery_codes").input_value().split()
        self.reader.sign_out()
        self.reader.go("/login")
        page.locator("[name=login]").fill(self.email)
        page.locator("[name=password]").fill(PASSWORD)
        page.locator("#submit-login").click()
        page.locator("[name=code]").fill(recovery[0])
        page.locator("main form button[type=submit]").first.click()
        page.wait_for_url("**/dashboard")

    def opens(self, name: str) -> None:
        """Go somewhere by the menu, which is folded away on a telephone."""
        expect(self.see(name)).to_be_hidden()
        self.see("menu").click()
        self.see(name).click()
        expect(self.see(name)).to_have_attribute("aria-current", "page")

    def fits(self, language: str) -> None:
        """The page is in the right language and no wider than the screen."""
        page = self.reader.page
        expect(page.locator("html")).to_have_attribute("lang", language)
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], page.url

    def rotate(self) -> None:
        """The successor works, the old key does not."""
        self.see("nav-keys").click()
        self.see("key-name").first.click()
        self.see("rotate-key").click()
        self.reader.page.locator("[name=overlap]").select_option(AT_ONCE)
        self.see("rotate-confirm").click()
        old, self.key = self.key, self.see("secret").inner_text()
        assert outcome(call(self.product, old)) == "401 key_expired"
        assert outcome(call(self.product, self.key)) == "200"
        self.see("saved-secret").click()

    def delete_account(self) -> None:
        """Name, keys and sign-in are gone; the books still agree."""
        self.see("nav-settings").click()
        self.see("delete-account").click()
        self.see("delete-email").fill(self.email)
        self.see("delete-account-confirm").click()
        self.reader.prove()
        expect(self.see("account-deleted")).to_be_visible()
        assert call(self.product, self.key).status_code == 401
        self.reader.go("/dashboard")
        self.reader.page.wait_for_url("**/login**")
        assert '"ok": true' in self.product.manage("verify_ledger", "--full", "--json")


class TestJourney:
    def test_from_sign_up_to_the_end_of_the_account(
        self, browser: Browser, product: Product
    ) -> None:
        reader = open_page(browser, product)
        journey = Journey(product, browser, reader, "newcomer@example.com")

        journey.sign_up()
        journey.verify()
        for language in (*reversed(LANGUAGES), "en"):
            journey.set_language(language)
        journey.create_key()
        journey.run_the_call()
        journey.top_up()
        journey.watch_the_chart()
        journey.hit_the_cap()
        journey.export()
        journey.invite()
        journey.enable_totp()
        journey.rotate()
        journey.delete_account()

        reader.context.close()
        assert reader.complaints == []


class TestSteps:
    """Those that differ on a telephone and in another language."""

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_on_a_telephone_in_the_browsers_language(
        self, browser: Browser, product: Product, language: str
    ) -> None:
        reader = open_page(browser, product, viewport=NARROW, locale=language, has_touch=True)
        journey = Journey(product, browser, reader, f"narrow-{language}@example.com")

        reader.sign_up(journey.email)
        journey.fits(language)
        reader.confirm(link_in_mail(product, to=journey.email))
        journey.opens("nav-settings")
        journey.fits(language)
        journey.opens("nav-quickstart")
        journey.see("quickstart-create-key").click()
        assert outcome(call(product, journey.see("secret").inner_text())) == "200"
        expect(journey.see("step-seen").get_by_test_id("done")).to_be_visible()
        journey.fits(language)
        journey.opens("nav-limits")
        journey.see("caps-form").locator("[name=daily]").fill("12.50")
        journey.see("save-caps").click()
        expect(journey.see("toasts").locator(".banner-success")).to_be_visible()
        journey.fits(language)
        for page in ("nav-keys", "nav-usage", "nav-logs", "nav-billing", "nav-team"):
            journey.opens(page)
            journey.fits(language)
        reader.context.close()
        assert reader.complaints == []
