"""A person tops up by card in a real browser, beside the stand-in for Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from embedded import ports
from tests import product as products
from tests.fakes.stripe.process import KEY, SECRET, FakeStripe
from tests.product import Product


@dataclass(frozen=True, slots=True)
class Shop:
    """The product beside the fake."""

    product: Product
    fake: FakeStripe


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    port = ports.choose()
    folder = tmp_path_factory.mktemp("cards") / "var"
    with FakeStripe(webhook_url=f"http://127.0.0.1:{port}/webhooks/stripe") as fake:
        given: dict[str, Any] = {
            "STRIPE_SECRET_KEY": KEY,
            "STRIPE_WEBHOOK_SECRETS": SECRET,
            "STRIPE_API_BASE": fake.url,
        }
        running = products.launch(folder=folder, port=port, **given)
        yield Shop(running, fake)
        running.interrupt()
        # Whatever the product asked of Stripe, Stripe would have taken.
        assert fake.do("state")["wrong"] == []


@pytest.fixture
def page(chromium: str, shop: Shop) -> Iterator[Page]:
    expect.set_options(timeout=15_000)
    demo = shop.product.demo
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{demo['base_url']}/login")
        page.get_by_label("Email").fill(demo["email"])
        page.get_by_label("Password", exact=True).fill(demo["password"])
        page.locator("#submit-login").click()
        page.wait_for_url("**/dashboard")
        page.goto(f"{demo['base_url']}/dashboard/billing")
        yield page
        browser.close()


class TestTopUp:
    def test_paid_on_the_page_it_arrives_and_the_card_then_pays_alone(
        self, page: Page, shop: Shop
    ) -> None:
        base = shop.product.demo["base_url"]
        expect(page.get_by_test_id("balance-usd")).to_have_text("$25.00")
        page.locator("[name=amount]").first.fill("25")
        page.locator("[name=save_card]").check()
        page.get_by_test_id("top-up").click()
        page.get_by_test_id("pay").click()
        expect(page.locator("[data-status=paid]")).to_be_visible()
        expect(page.get_by_test_id("balance-usd")).to_have_text("$50.00")

        page.goto(f"{base}/dashboard/billing")
        page.locator("[name=card]").select_option(index=1)
        page.locator("[name=amount]").first.fill("30")
        page.get_by_test_id("top-up").click()
        # By a task, while the page waits: it is not loaded again.
        expect(page.locator("[data-status=paid]")).to_be_visible()
        expect(page.get_by_test_id("balance-usd")).to_have_text("$80.00")

        page.goto(f"{base}/dashboard/billing")
        form = page.get_by_test_id("auto-form")
        form.locator("[name=enabled]").check()
        page.get_by_test_id("auto-save").click()
        expect(form.locator("[name=enabled]")).to_be_checked()
        assert '"ok": true' in shop.product.manage("verify_ledger", "--full", "--json")
