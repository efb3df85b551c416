"""Staff in a real browser: the door, a look as a customer, and a grant that takes two people."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests import product as products
from tests.peers.browsing import Reader, code_now, open_page
from tests.product import Product


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = products.launch(folder=tmp_path_factory.mktemp("product") / "var")
    yield running
    running.interrupt()


def enter(browser: Browser, product: Product, who: str) -> Reader:
    """Sign in at the staff's door with what `make run` printed."""
    reader, demo = open_page(browser, product), product.demo
    reader.go("/admin/")
    reader.page.locator("[name=login]").fill(demo[f"{who}_email"])
    reader.page.locator("[name=password]").fill(demo[f"{who}_password"])
    reader.page.locator("#submit-login").click()
    reader.page.wait_for_url("**/2fa/authenticate/**")
    reader.page.locator("[name=code]").fill(code_now(demo[f"{who}_totp_secret"]))
    reader.page.keyboard.press("Enter")
    reader.page.wait_for_url("**/admin/")
    return reader


@pytest.fixture(scope="module")
def first(browser: Browser, product: Product) -> Reader:
    return enter(browser, product, "staff")


@pytest.fixture(scope="module")
def second(browser: Browser, product: Product) -> Reader:
    return enter(browser, product, "second_staff")


def test_the_dashboard_as_the_customer_sees_it(first: Reader, product: Product) -> None:
    page = first.page
    first.go(f"/admin/accounts/user/?q={product.demo['email']}")
    page.get_by_role("link", name=product.demo["email"]).click()
    page.get_by_test_id("impersonate").click()
    page.locator("[name=reason]").fill("They see no charges")
    page.get_by_test_id("impersonate-start").click()
    page.wait_for_url("**/dashboard")
    for path in ("/dashboard/keys", "/dashboard/logs", "/dashboard/billing", "/dashboard/settings"):
        first.go(path)
        expect(page.get_by_test_id("impersonation")).to_contain_text(product.demo["email"])
    first.go("/dashboard/keys/new")
    expect(page.locator("body")).to_contain_text(re.compile("not allowed", re.I))
    first.go("/dashboard")
    page.get_by_test_id("impersonation-stop").click()
    page.wait_for_url("**/admin/accounts/user/**")
    assert first.complaints == []


def test_a_larger_grant_takes_two(first: Reader, second: Reader, product: Product) -> None:
    page = first.page
    first.go(f"/admin/billing/customer/?q={product.demo['workspace_id']}")
    page.locator("#result_list tbody th a").first.click()
    page.get_by_test_id("steps").get_by_role("link", name="Grant").click()
    page.locator("[name=amount]").fill("500")
    page.locator("[name=reason]").fill("They waited for a week")
    page.get_by_test_id("step-submit").click()
    expect(page.locator(".messagelist")).to_contain_text("waits for somebody else")
    other = second.page
    second.go("/admin/accounts/approval/?state__exact=pending")
    other.locator("#result_list tbody th a").first.click()
    expect(other.locator("#content")).to_contain_text("They waited for a week")
    other.get_by_test_id("approve").click()
    expect(other.locator(".messagelist")).to_contain_text("Approved")
    first.page.reload()
    assert first.complaints == second.complaints == []
