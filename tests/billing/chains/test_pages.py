"""Crypto in the dashboard and over REST."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import members
from accounts.models import AuditEvent, User, Workspace
from billing.chains import wallets
from billing.models import DepositAddress
from tests import pages
from tests.billing.chains import counter
from tests.billing.chains.counter import Counter, quote


@pytest.fixture
def owner(db: None) -> User:
    return pages.person("owner")


@pytest.fixture
def browser(owner: User) -> Client:
    return pages.browser(owner)


def ask(browser: Client, method: str, path: str, body: Any = None) -> Any:
    response = browser.generic(
        method, f"/api/v1/{path}", json.dumps(body or {}), content_type="application/json"
    )
    return response.status_code, response.json()


def arrive(shop: Counter, owner: User, amount: int) -> DepositAddress:
    place: Workspace = pages.home(owner)
    address = wallets.give(workspace=place)
    shop.chain.mine(shop.pay(address, amount))
    shop.chain.finalise()
    shop.look()
    return address


class TestCryptoView:
    def test_an_address_is_given_once_and_shown(self, shop: Counter, browser: Client) -> None:
        assert ask(browser, "GET", "crypto")[1]["address"] is None
        status, made = ask(browser, "POST", "crypto/address")
        assert (status, made["address"]) == (201, counter.FIRST)
        assert ask(browser, "POST", "crypto/address")[1] == made
        assert ask(browser, "GET", "crypto")[1] == made

    def test_each_asset_shows_what_is_pending_received_converted_and_there(
        self, shop: Counter, browser: Client, owner: User
    ) -> None:
        ask(browser, "PATCH", "crypto", {"conversion": "manual"})
        address = arrive(shop, owner, 5_500_000)
        shop.chain.mine(shop.pay(address, 250_000))
        shop.look()
        quote("USDC", "1")
        asset = shop.asset("USDC")
        body = {"asset": asset, "amount": "1.5"}
        status, converted = ask(browser, "POST", "crypto/conversions", body)
        assert (status, converted["received_usd"]) == (201, "1.50")
        shown = ask(browser, "GET", "crypto")[1]
        [usdc] = [each for each in shown["assets"] if each["asset"] == asset]
        assert {n: usdc[n] for n in ("pending", "received", "converted", "balance")} == {
            "pending": "0.25", "received": "5.5", "converted": "1.5", "balance": "4",
        }  # fmt: skip
        assert [each["amount"] for each in shown["underway"]] == ["0.25"]
        assert shown["conversion"] == "manual"
        [deposit] = ask(browser, "GET", "deposits")[1]["data"]
        assert (deposit["amount"], deposit["state"]) == ("5.5", "kept")

    def test_a_change_to_what_changed_meanwhile_is_a_409(
        self, shop: Counter, browser: Client
    ) -> None:
        seen = ask(browser, "GET", "crypto")[1]["version"]
        wanted = {"conversion": "manual", "version": seen}
        status, changed = ask(browser, "PATCH", "crypto", wanted)
        assert (status, changed["conversion"]) == (200, "manual")
        status, late = ask(browser, "PATCH", "crypto", wanted | {"conversion": "automatic"})
        assert (status, late["error"]["reason"]) == (409, "version_conflict")
        assert ask(browser, "GET", "crypto")[1] == changed

    def test_what_arrived_stays_listed_where_chains_are_taken_no_more(
        self, shop: Counter, browser: Client, owner: User, settings: Settings
    ) -> None:
        arrive(shop, owner, 5_500_000)
        settings.CHAINS_FILE = ""

        status, page = ask(browser, "GET", "deposits")

        assert status == 200
        assert [each["symbol"] for each in page["data"]] == ["USDC"]

    def test_every_change_is_in_the_audit_log(
        self, shop: Counter, browser: Client, owner: User
    ) -> None:
        ask(browser, "POST", "crypto/address")
        ask(browser, "PATCH", "crypto", {"conversion": "manual"})
        arrive(shop, owner, 5_500_000)
        quote("USDC", "1")
        ask(browser, "POST", "crypto/conversions", {"asset": shop.asset("USDC")})
        events = AuditEvent.objects.filter(
            workspace=pages.home(owner), action__startswith="crypto."
        ).order_by("id")
        assert [(each.action, each.user) for each in events] == [
            ("crypto.address_given", owner),
            ("crypto.conversion_set", owner),
            ("crypto.converted", owner),
        ]

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"asset": "X"}, "asset"),
            ({"asset": "USDC", "amount": "1,5"}, "amount"),
            ({"asset": "USDC", "amount": "0.0000001"}, "amount"),
            ({"asset": "USDC", "amount": "7"}, "amount"),
        ],
    )
    def test_what_cannot_be_converted_is_refused_by_name(
        self, shop: Counter, browser: Client, body: dict[str, str], param: str
    ) -> None:
        quote("USDC", "1")
        body["asset"] = shop.asset("USDC") if body["asset"] == "USDC" else body["asset"]
        status, refused = ask(browser, "POST", "crypto/conversions", body)
        assert (status, refused["error"]["param"]) == (400, param)

    def test_without_a_chain_nothing_is_offered(self, browser: Client) -> None:
        assert ask(browser, "GET", "crypto")[1]["available"] is False
        status, refused = ask(browser, "POST", "crypto/address")
        assert (status, refused["error"]["reason"]) == (409, "crypto_unavailable")


class TestSection:
    def test_it_offers_no_address_before_the_email_address_is_confirmed(
        self, shop: Counter, db: None
    ) -> None:
        browser = pages.browser(pages.person("new", verified=False))

        page = browser.get("/dashboard/billing").content.decode()

        assert 'data-testid="crypto-unverified"' in page
        assert 'data-testid="crypto-get-address"' not in page

    def test_it_says_when_coins_are_converted(self, shop: Counter, browser: Client) -> None:
        browser.post("/dashboard/billing/crypto/address")
        at_once = browser.get("/dashboard/billing").content.decode()
        browser.post("/dashboard/billing/crypto/conversion", {"keep": "on"})
        kept = browser.get("/dashboard/billing").content.decode()

        assert "It is then converted" in at_once
        assert "until you convert them, at the price" in kept
        assert "It is then converted" not in kept

    def test_it_shows_the_address_as_text_and_as_a_code_with_a_warning(
        self, shop: Counter, browser: Client
    ) -> None:
        browser.post("/dashboard/billing/crypto/address")
        page = browser.get("/dashboard/billing").content.decode()
        assert counter.FIRST in page
        assert 'data-testid="copy-crypto-address"' in page
        assert "Send only USDC, and only on the network Anvil." in page
        assert "<svg" in page.split('data-testid="crypto-qr"')[1][:200]

    def test_the_warning_is_about_the_coin_that_was_chosen(
        self, shop: Counter, browser: Client
    ) -> None:
        browser.post("/dashboard/billing/crypto/address")
        for symbol, contract in (("USDT", counter.USDT), ("ETH", "")):
            coin = {"coin": shop.asset(symbol)}
            panel = browser.get("/dashboard/billing/crypto/pay", coin).content.decode()
            assert f"Send only {symbol}, and only on the network Anvil." in panel
            assert contract in panel
            assert ("crypto-contract" in panel) == bool(contract)
            # Without scripts the form loads the page anew.
            page = browser.get("/dashboard/billing", coin).content.decode()
            assert f"Send only {symbol}, " in page

    def test_before_there_is_an_address_there_is_nothing_to_send_to(
        self, shop: Counter, browser: Client
    ) -> None:
        assert browser.get("/dashboard/billing/crypto/pay").status_code == 404

    def test_the_balance_above_comes_along(self, shop: Counter, browser: Client) -> None:
        part = browser.get("/dashboard/billing/crypto").content.decode()
        assert 'id="balances" hx-swap-oob="true"' in part
        page = browser.get("/dashboard/billing").content.decode()
        assert page.count('id="balances"') == 1
        assert "hx-swap-oob" not in page

    def test_the_sender_is_never_shown(self, shop: Counter, browser: Client, owner: User) -> None:
        # Who copies it as an address for refunds may have been lured by a look-alike.
        arrive(shop, owner, 5_500_000)
        shop.chain.mine(shop.pay(wallets.give(workspace=pages.home(owner)), 6_500_000))
        shop.look()
        shown = browser.get("/dashboard/billing").content.decode().lower()
        assert "5.5" in shown and "6.5" in shown  # noqa: PT018 - one idea
        said = json.dumps([ask(browser, "GET", path)[1] for path in ("crypto", "deposits")])
        for text in (shown, said.lower()):
            assert counter.PAYER[2:] not in text

    def test_what_is_under_way_comes_without_a_reload(
        self, shop: Counter, browser: Client, owner: User
    ) -> None:
        address = wallets.give(workspace=pages.home(owner))
        part = browser.get("/dashboard/billing/crypto").content.decode()
        assert 'hx-trigger="every 3s"' in part
        assert "crypto-underway" not in part
        shop.chain.mine(shop.pay(address, 5_500_000))
        shop.look()
        part = browser.get("/dashboard/billing/crypto").content.decode()
        assert "1 confirmation so far" in part
        assert "credited once the network calls it final" in part
        assert "5.5" in part

    def test_coins_are_kept_and_converted_by_a_click(
        self, shop: Counter, browser: Client, owner: User
    ) -> None:
        browser.post("/dashboard/billing/crypto/address")
        browser.post("/dashboard/billing/crypto/conversion", {"keep": "on"})
        address = arrive(shop, owner, 5_500_000)
        quote("USDC", "1")
        browser.post("/dashboard/billing/crypto/convert", {"asset": shop.asset("USDC")})
        assert shop.balance(address).paid == 5_500_000_000

    def test_an_address_that_is_not_from_the_key_is_never_shown(
        self, shop: Counter, browser: Client, owner: User
    ) -> None:
        wallets.give(workspace=pages.home(owner))
        DepositAddress.objects.update(address="0x" + "ab" * 20)
        with pytest.raises(RuntimeError, match="not from its key"):
            browser.get("/dashboard/billing/crypto")

    @pytest.mark.parametrize("role", ["viewer", "developer"])
    def test_who_may_not_pay_sees_no_address(self, shop: Counter, owner: User, role: str) -> None:
        address = wallets.give(workspace=pages.home(owner))
        somebody, place = pages.person(role), pages.home(owner)
        members.add(workspace=place, user=somebody, role=role, by=owner)
        browser = pages.browser(somebody, workspace=place)

        page = browser.get("/dashboard/billing").content.decode()

        assert 'data-testid="crypto-not-yours"' in page
        assert address.address not in page
        assert browser.get("/dashboard/billing/crypto/pay").status_code == 403

    def test_who_may_not_manage_money_gets_no_address(self, shop: Counter, owner: User) -> None:
        viewer, place = pages.person("viewer"), pages.home(owner)
        members.add(workspace=place, user=viewer, role="viewer", by=owner)
        browser = pages.browser(viewer, workspace=place)
        assert browser.post("/dashboard/billing/crypto/address").status_code == 403
        assert wallets.find(workspace=place) is None
