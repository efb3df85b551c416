from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import members
from accounts.scopes import Role
from accounts.templatetags import words
from billing import grants, ledger, refunds, statement
from billing.models import Account, TokenPackage
from billing.models_funding import AutoTopUp, Refund, TopUp
from billing.stripe import returns
from billing.tasks import book_stripe_event, charge_card
from common.pagination import Wanted
from tests import pages
from tests.accounts import races
from tests.billing.stripe.payer import Payer, body_of, kinds, sign
from tests.pages import Inline

pytestmark = pytest.mark.django_db


def api(client: Client, method: str, path: str, body: Any = None) -> Any:
    """Call the management API in somebody's session."""
    answer = client.generic(
        method,
        f"/api/v1/{path}",
        json.dumps(body) if body is not None else "",
        content_type="application/json",
    )
    return answer.status_code, json.loads(answer.content)


def ledger_lines(one: Payer) -> set[str]:
    """The kinds of what a customer sees in the ledger."""
    page = statement.read(
        workspace=one.workspace, asset="USD", wanted=Wanted(100, None), now=timezone.now()
    )
    return {line.kind for line in page.rows}


def word_of(page: str) -> str:
    """What the page's form is known by."""
    [word] = set(re.findall(r'name="once" value="([^"]+)"', page))
    return str(word)


class TestPage:
    def test_without_stripe_it_says_what_is_missing(self, ada: Payer, settings: Settings) -> None:
        settings.STRIPE_SECRET_KEY = ""
        text = pages.browser(ada.user).get("/dashboard/billing").content.decode()
        assert "STRIPE_SECRET_KEY" in text
        assert 'data-testid="top-up-form"' not in text
        assert pages.browser(ada.user).post("/dashboard/billing/top-ups", {"amount": "20"})
        assert not TopUp.objects.exists()

    def test_nobody_saves_a_card_before_the_address_is_confirmed(self, ada: Payer) -> None:
        text = pages.browser(ada.user).get("/dashboard/billing").content.decode()
        assert 'data-testid="save-card"' in text
        new = pages.browser(pages.person("new", verified=False))
        text = new.get("/dashboard/billing").content.decode()
        assert text.count("Confirm your email address first") == 2
        assert 'data-testid="save-card"' not in text

    def test_a_person_pays_and_sees_it_arrive(self, ada: Payer) -> None:
        client = pages.browser(ada.user)
        begun = client.post("/dashboard/billing/top-ups", {"amount": "12.34"})
        led = client.get(begun["location"])
        assert led["location"].startswith(f"{ada.fake.url}/c/pay/")
        top_up = TopUp.objects.get()
        here = f"/dashboard/billing/top-ups/{top_up.public_id}"
        assert "hx-get" in client.get(here).content.decode()
        done = httpx.post(led["location"], data={"number": "4242 4242 4242 4242"}, timeout=30)
        assert done.headers["location"].endswith(here)
        shown = client.get(here, headers={"hx-request": "true"}).content.decode()
        assert 'data-status="paid"' in shown
        assert "hx-get" not in shown
        page = client.get("/dashboard/billing").content.decode()
        assert re.search(r'balance-usd">\$12.34', page)
        assert "Receipt" in page
        assert Inline(page.replace("https://pay.stripe", "").replace("https://inv", "")).found == []

    def test_a_form_that_is_sent_again_charges_a_card_once(self, ada: Payer) -> None:
        card = ada.save_card()
        client, charged = pages.browser(ada.user), TopUp.objects.filter(card=card)
        page = client.get("/dashboard/billing").content.decode()
        form = {"amount": "15", "card": card.public_id, "once": word_of(page)}
        first, again = (client.post("/dashboard/billing/top-ups", form) for _ in range(2))
        assert first["location"] == again["location"]
        assert charged.count() == 1
        # Another amount, another visit to the page, or no word at all: another payment.
        client.post("/dashboard/billing/top-ups", {**form, "amount": "16"})
        later = word_of(client.get("/dashboard/billing").content.decode())
        client.post("/dashboard/billing/top-ups", {**form, "once": later})
        client.post("/dashboard/billing/top-ups", {**form, "once": ""})
        assert charged.count() == 4

    def test_a_form_that_was_refused_may_be_sent_again(self, ada: Payer) -> None:
        client = pages.browser(ada.user)
        form = {"amount": "20", "once": word_of(client.get("/dashboard/billing").content.decode())}
        home = Account.objects.filter(pk=ledger.open_accounts(workspace_id=ada.workspace.pk).usd_id)
        home.update(frozen=True)
        assert client.post("/dashboard/billing/top-ups", form).status_code == 400
        home.update(frozen=False)
        assert client.post("/dashboard/billing/top-ups", form).status_code == 302

    @pytest.mark.django_db(transaction=True)
    def test_a_form_that_is_sent_twice_at_once_charges_a_card_once(self, ada: Payer) -> None:
        card = ada.save_card()
        one, other = pages.browser(ada.user), pages.browser(ada.user)
        page = one.get("/dashboard/billing").content.decode()
        form = {"amount": "15", "card": card.public_id, "once": word_of(page)}
        again = races.behind(
            lambda: one.post("/dashboard/billing/top-ups", form),
            lambda: other.post("/dashboard/billing/top-ups", form),
        )
        made = TopUp.objects.get(card=card)
        assert again["location"] == f"/dashboard/billing/top-ups/{made.public_id}"

    def test_what_cannot_be_paid_is_said_at_the_form(self, ada: Payer) -> None:
        client = pages.browser(ada.user)
        for amount in ("1", "x", "5.001", "-7", ""):
            answer = client.post("/dashboard/billing/top-ups", {"amount": amount})
            assert answer.status_code == 400
        assert not TopUp.objects.exists()

    def test_what_nobody_can_have_meant_is_no_fault_of_the_server(self, ada: Payer) -> None:
        visitor = pages.browser(ada.user)
        assert visitor.get("/dashboard/billing?after=x").status_code == 404
        wanted = {"amount": "20", "package": "a\x00"}
        assert visitor.post("/dashboard/billing/top-ups", wanted).status_code == 400

    def test_automatic_top_up_is_set_up(self, ada: Payer) -> None:
        card = ada.save_card()
        wanted = {"threshold": "10", "amount": "25", "monthly_limit": "100"}
        wanted |= {"enabled": "on", "auto_card": card.public_id}
        client = pages.browser(ada.user)
        assert client.post("/dashboard/billing/auto", wanted).status_code == 302
        wishes = AutoTopUp.objects.get()
        assert (wishes.enabled, wishes.amount_cents, wishes.card) == (True, 2500, card)
        assert 'value="25.00"' in client.get("/dashboard/billing").content.decode()

    def test_a_card_is_saved_and_removed(self, ada: Payer) -> None:
        client = pages.browser(ada.user)
        url = client.post("/dashboard/billing/cards")["location"]
        back = httpx.post(url, data={"number": "4242424242424242"}, timeout=30).headers["location"]
        page = client.get(back.removeprefix("http://127.0.0.1:8000")).content.decode()
        [path] = re.findall(r"/dashboard/billing/cards/card_\w+/remove", page)
        client.post(path)
        assert "/remove" not in client.get("/dashboard/billing").content.decode()

    def test_the_portal_is_found(self, ada: Payer) -> None:
        answer = pages.browser(ada.user).post("/dashboard/billing/portal")
        assert answer["location"] == f"{ada.fake.url}/p/portal"

    def test_another_persons_payment_is_not_shown(self, ada: Payer) -> None:
        top_up = ada.pay()
        eve = pages.browser(pages.person("eve"))
        assert eve.get(f"/dashboard/billing/top-ups/{top_up.public_id}").status_code == 404

    def test_who_may_not_pay_sees_and_cannot(self, ada: Payer) -> None:
        vic = pages.person("vic")
        members.add(workspace=ada.workspace, user=vic, role=Role.VIEWER, by=None)
        client = pages.browser(vic, workspace=ada.workspace)
        assert client.get("/dashboard/billing").status_code == 200
        assert client.post("/dashboard/billing/top-ups", {"amount": "20"}).status_code == 403

    def test_a_package_is_bought_by_card(self, ada: Payer) -> None:
        TokenPackage.objects.create(slug="team", name="Team", tokens=4000, price_nanos=10**10)
        client = pages.browser(ada.user)
        wanted = {"amount": "1", "package": "team"}
        begun = client.post("/dashboard/billing/top-ups", wanted)
        httpx.post(client.get(begun["location"])["location"], data={"number": "4242"}, timeout=30)
        client.get(f"/dashboard/billing/top-ups/{TopUp.objects.get().public_id}")
        page = client.get("/dashboard/billing").content.decode()
        assert 'balance-tokens">4,000<' in page

    def test_each_line_of_the_ledger_is_said_in_words(self, ada: Payer) -> None:
        top_up, other = ada.pay(2000), ada.pay(1000)
        grants.give(workspace=ada.workspace, asset="USD", amount=10**9, reason="", by=ada.user)
        returns.send(refund=refunds.ask(top_up=other, amount_cents=100, by=ada.user))
        ada.fake.do("end_refund", id=ada.fake.all("refund")[0]["id"], status="failed")
        returns.book_refund(ada.fake.all("refund")[0]["id"])
        returns.book_warning(ada.fake.do("warn", id=top_up.intent_id)["id"])
        dispute = ada.fake.do("dispute", id=top_up.intent_id)["id"]
        returns.book_dispute(dispute)
        ada.fake.do("end_dispute", id=dispute, status="won")
        returns.book_dispute(dispute)
        lines = ledger_lines(ada)
        assert {"warning.returned", "dispute.taken", "refund.failed"} <= lines
        assert lines <= words.WORDS.keys()
        page = pages.browser(ada.user).get("/dashboard/billing").content.decode()
        assert "disputed payment" in page
        assert "dispute.taken" not in page


class TestApi:
    def test_a_payment_is_begun_paid_and_seen(self, ada: Payer) -> None:
        client = pages.browser(ada.user)
        status, made = api(client, "POST", "top-ups", {"amount_usd": "20.00"})
        assert (status, made["status"], made["amount_usd"]) == (201, "pending", "20.00")
        page = client.get(made["pay_url"].removeprefix("http://127.0.0.1:8000"))["location"]
        httpx.post(page, data={"number": "4242424242424242"}, timeout=30)
        event = ada.fake.events("checkout.session.completed")[0]
        body = body_of(event)
        signed = {"stripe-signature": sign(body)}
        assert client.post("/webhooks/stripe", body, "application/json", headers=signed)
        book_stripe_event(event["id"])
        _, seen = api(client, "GET", f"top-ups/{made['id']}")
        assert (seen["status"], seen["pay_url"]) == ("paid", None)
        assert api(client, "GET", "balances")[1]["balances"][0]["available"] == "20.00"
        assert [each["id"] for each in api(client, "GET", "top-ups")[1]["data"]] == [made["id"]]

    def test_a_saved_card_pays_at_once(self, ada: Payer) -> None:
        ada.save_card()
        client = pages.browser(ada.user)
        [card] = api(client, "GET", "cards")[1]["data"]
        asked = {"amount_usd": "15", "card": card["id"]}
        _, made = api(client, "POST", "top-ups", asked)
        assert made["pay_url"] is None
        charge_card(TopUp.objects.get(public_id=made["id"]).pk)
        assert api(client, "GET", f"top-ups/{made['id']}")[1]["status"] == "paid"

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"amount_usd": "20", "package": "x"},
            {"amount_usd": "20.001"},
            {"amount_usd": 20},
            {"amount_usd": "20", "card": "card_other"},
            {"package": "none"},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, ada: Payer, body: Any) -> None:
        assert api(pages.browser(ada.user), "POST", "top-ups", body)[0] == 400

    def test_a_refund_is_asked_for_and_sent(self, ada: Payer) -> None:
        top_up = ada.pay(2000)
        client = pages.browser(ada.user)
        path = f"top-ups/{top_up.public_id}/refunds"
        status, made = api(client, "POST", path, {"amount_usd": "5"})
        assert (status, made["status"], made["credit_usd"]) == (201, "pending", "5.00")
        returns.send(refund=Refund.objects.get())
        assert api(client, "GET", path)[1]["data"][0]["status"] == "succeeded"
        assert kinds()[-1] == "refund"
        assert api(client, "POST", path, {"amount_usd": "15.01"})[0] == 400
        assert api(client, "POST", path, {})[1]["amount_usd"] == "15.00"

    def test_automatic_top_up_is_read_and_set(self, ada: Payer) -> None:
        card = ada.save_card()
        client = pages.browser(ada.user)
        assert api(client, "GET", "auto-top-up")[1]["enabled"] is False
        wanted = {
            "enabled": True,
            "threshold_usd": "5.50",
            "amount_usd": "20",
            "monthly_limit_usd": "100",
            "card": card.public_id,
        }
        status, found = api(client, "PUT", "auto-top-up", wanted)
        assert (status, found["threshold_usd"], found["card"]) == (200, "5.50", card.public_id)
        assert api(client, "PUT", "auto-top-up", wanted | {"monthly_limit_usd": "19"})[0] == 400

    def test_every_change_is_written_in_the_audit_log(self, ada: Payer) -> None:
        client = pages.browser(ada.user)
        api(client, "POST", "top-ups", {"amount_usd": "20"})
        top_up = ada.pay(2000)
        api(client, "POST", f"top-ups/{top_up.public_id}/refunds", {"amount_usd": "5"})
        ada.automatic(ada.save_card())
        said = [each["action"] for each in api(client, "GET", "audit-events")[1]["data"]]
        wanted = {"top_up.asked", "top_up.paid", "refund.asked", "auto_top_up.changed"}
        assert wanted <= set(said)
