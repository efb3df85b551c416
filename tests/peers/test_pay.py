"""What `make demo-pay` starts: a card and three coins, seen and spent on pages and by REST."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from embedded import ports
from tests import product as products
from tests.peers.browsing import call, faults, open_page, outcome
from tests.product import ROOT, Product, until

ARRIVES_WITHIN_S = 90
COINS = {"USDC": "5", "USDT": "3", "ETH": "0.01"}
# What the demo's markets say; a stablecoin is never worth more than a dollar.
WORTH = {"USDC": "5", "USDT": "2.9994", "ETH": "30.0025"}


@pytest.fixture(scope="module")
def product(npm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    assert npm
    running = products.launch(
        folder=tmp_path_factory.mktemp("pay") / "var",
        module="tests.fakes.pay",
        STRIPE_PORT=str(ports.choose()),
        npm_config_cache=str(Path.home() / ".npm"),
    )
    yield running
    running.interrupt()


@pytest.fixture
def page(browser: Browser, product: Product) -> Iterator[Page]:
    reader = open_page(browser, product)
    reader.sign_in(product.demo["email"], product.demo["password"])
    yield reader.page
    reader.context.close()
    assert reader.complaints == []


class TestTheCommand:
    def test_make_starts_this_supervisor(self) -> None:
        make = shutil.which("make")
        assert make is not None
        said = subprocess.run(
            [make, "-n", "--no-print-directory", "demo-pay"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.strip().endswith("python -m tests.fakes.pay")


class TestTheDashboard:
    def test_a_card_and_three_coins_arrive_without_a_reload_and_pay_for_calls(
        self, page: Page, product: Product
    ) -> None:
        base, key = product.demo["base_url"], product.demo["api_key"]
        page.goto(f"{base}/dashboard/billing")
        pay_by_card(page, base)
        expect(page.get_by_test_id("balance-usd")).to_have_text("$50.00")
        spend(product, key)
        set_auto_top_up(page)
        address = ask_for_address(page, base)
        expected = available(product, key) + sum(map(Decimal, WORTH.values()))
        page.evaluate("window.notLoadedAgain = true")
        for symbol, amount in COINS.items():
            choose(page, symbol, address)
            pay(product, symbol, address, amount)
        for symbol in COINS:
            watch(page, symbol)
        # Cut, not rounded: what is shown can be spent.
        shown = f"${expected.quantize(Decimal('0.01'), rounding='ROUND_DOWN')}"
        expect(page.get_by_test_id("balance-usd")).to_have_text(shown)
        assert available(product, key) == expected
        for _coin in COINS:
            spend(product, key)
        assert page.evaluate("window.notLoadedAgain") is True
        assert books_balance(product)

    @pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
    def test_its_crypto_section_shuts_nobody_out(
        self, browser: Browser, product: Product, axe: str, width: int, scheme: Any
    ) -> None:
        look = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
        reader = open_page(browser, product, **look)
        reader.sign_in(product.demo["email"], product.demo["password"])
        reader.go("/dashboard/billing")
        expect(reader.page.get_by_test_id("crypto-qr")).to_be_visible()
        assert faults(reader.page, width=width, axe=axe) == []
        reader.context.close()
        assert reader.complaints == []


class TestRest:
    def test_a_card_and_three_coins_arrive_and_pay_for_calls(self, product: Product) -> None:
        named = ("--owner", product.demo["email"])
        made = product.manage("create_workspace", *named, "--name", "By REST", "--json")
        place = json.loads(made)["workspace_id"]
        key, manager = (
            json.loads(product.manage("issue_key", "--workspace", place, *named, *scopes, "--json"))
            for scopes in (
                ("--scope", "chat", "--scope", "billing:read"),
                ("--scope", "billing:read", "--scope", "billing:manage"),
            )
        )
        with httpx.Client(
            base_url=f"{product.demo['base_url']}/api/v1/",
            headers={"authorization": f"Bearer {manager['key']}"},
            trust_env=False,
            timeout=30,
        ) as api:
            assert outcome(call(product, key["key"])) == "402 insufficient_balance"
            expected = top_up(api) - spend(product, key["key"])
            address = api.post("crypto/address").raise_for_status().json()["address"]
            for symbol, amount in COINS.items():
                pay(product, symbol, address, amount)
            until(lambda: len(arrived(api)) == len(COINS), within_s=ARRIVES_WITHIN_S)
            assert arrived(api) == COINS
            expected += sum(map(Decimal, WORTH.values()))
            assert available(product, key["key"]) == expected
            for _coin in COINS:
                expected -= spend(product, key["key"])
            assert available(product, key["key"]) == expected
        assert books_balance(product)


def pay_by_card(page: Page, base: str) -> None:
    """Top up 25 dollars on the pages of shop and processor, and keep the card."""
    page.locator("[name=amount]").first.fill("25")
    page.locator("[name=save_card]").check()
    page.get_by_test_id("top-up").click()
    page.get_by_test_id("pay").click()
    expect(page.locator("[data-status=paid]")).to_be_visible()
    page.goto(f"{base}/dashboard/billing")


def set_auto_top_up(page: Page) -> None:
    """Let the card pay by itself below a dollar."""
    form = page.get_by_test_id("auto-form")
    form.locator("[name=enabled]").check()
    form.locator("[name=threshold]").fill("1")
    page.get_by_test_id("auto-save").click()
    expect(form.locator("[name=enabled]")).to_be_checked()


def ask_for_address(page: Page, base: str) -> str:
    """Click for the workspace's address; return what the copy button copies."""
    button = page.get_by_test_id("crypto-get-address")

    def ready() -> bool:
        page.goto(f"{base}/dashboard/billing")
        return button.count() == 1

    until(ready)
    button.click()
    shown = page.get_by_test_id("crypto-address").inner_text()
    page.get_by_test_id("copy-crypto-address").click()
    expect(page.get_by_test_id("copy-crypto-address")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == shown
    return shown


def choose(page: Page, symbol: str, address: str) -> None:
    """Say what will be sent; what the page then warns of is about just that."""
    page.get_by_test_id("crypto-coin").select_option(label=f"{symbol} · Anvil (demo)")
    expect(page.get_by_test_id("crypto-warning")).to_contain_text(
        f"Send only {symbol}, and only on the network Anvil (demo)"
    )
    expect(page.get_by_test_id("crypto-address")).to_have_text(address)
    expect(page.get_by_test_id("crypto-qr").locator("svg")).to_be_visible()


def watch(page: Page, symbol: str) -> None:
    """See a coin under way, and then arrived."""
    there = page.locator(f"[data-testid=crypto-deposits] [data-symbol={symbol}]")
    underway = page.locator(f"[data-testid=crypto-underway] [data-symbol={symbol}]")
    expect(there.or_(underway).first).to_be_visible()
    # All of them at one moment: what is under way may arrive at the next.
    told = underway.locator("[role=meter]").evaluate_all(
        "meters => meters.map(each => each.getAttribute('aria-valuenow'))"
    )
    assert all(0 <= int(percent) < 100 for percent in told), told
    expect(there).to_contain_text("converted to US dollars", timeout=ARRIVES_WITHIN_S * 1000)


def pay(product: Product, symbol: str, address: str, amount: str) -> None:
    """Send a coin as the documented command does."""
    command = [sys.executable, "-m", "tests.fakes.pay.send", symbol, address, amount]
    subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "platform", "DATA_DIR": str(product.folder)},
        check=True,
        capture_output=True,
        timeout=60,
    )


def top_up(api: httpx.Client) -> Decimal:
    """Top up by card as a program does, and as a person on the processor's page."""
    made = api.post("top-ups", json={"amount_usd": "25"}, headers={"idempotency-key": "one"})
    asked = made.raise_for_status().json()
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=30) as person:
        form = person.get(asked["pay_url"])
        paid = httpx.post(
            form.url, data={"number": "4242424242424242"}, trust_env=False, timeout=30
        )
        assert paid.status_code == 303
    until(lambda: bool(api.get(f"top-ups/{asked['id']}").json()["status"] == "paid"), within_s=60)
    return Decimal(25)


def arrived(api: httpx.Client) -> dict[str, str]:
    """What is converted, by coin."""
    rows: list[dict[str, Any]] = api.get("deposits").raise_for_status().json()["data"]
    return {row["symbol"]: row["amount"] for row in rows if row["state"] == "converted"}


def spend(product: Product, key: str) -> Decimal:
    """Make a call; return its price, by which the balance moved."""
    before = available(product, key)
    answer = call(product, key, model="sandbox/lorem")
    assert answer.status_code == 200, answer.text
    price = Decimal(answer.headers["x-tollgate-cost"])
    assert price > 0
    assert available(product, key) == before - price
    return price


def available(product: Product, key: str) -> Decimal:
    """The dollars that can be spent."""
    answer = httpx.get(
        f"{product.demo['base_url']}/api/v1/balances",
        headers={"authorization": f"Bearer {key}"},
        trust_env=False,
        timeout=30,
    )
    [usd] = [
        each for each in answer.raise_for_status().json()["balances"] if each["asset"] == "USD"
    ]
    return Decimal(usd["available"])


def books_balance(product: Product) -> bool:
    return bool(json.loads(product.manage("verify_ledger", "--full", "--json"))["ok"])
