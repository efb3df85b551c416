from __future__ import annotations

import pytest
from pytest_django import Settings

from accounts.models import AuditEvent
from billing.models_funding import AutoTopUp, SavedCard
from tests import pages
from tests.api.conftest import refusal, session
from tests.billing.stripe.payer import Payer
from tests.fakes.stripe.process import FakeStripe

pytestmark = pytest.mark.django_db


class TestCards:
    def test_a_person_is_led_to_where_a_card_is_saved(self, ada: Payer) -> None:
        program = session(ada.user, ada.workspace)

        for path, page in (("cards", "/c/"), ("billing-portal", "/p/portal")):
            assert program.post(path)["url"].startswith(ada.fake.url + page)

    def test_an_unproved_address_saves_no_card(self, fake: FakeStripe) -> None:
        eve = pages.person("eve", verified=False)

        error = refusal(session(eve, pages.home(eve)).ask("POST", "cards"))
        answer = pages.browser(eve).post("/dashboard/billing/cards")

        assert error["code"] == 403
        assert (answer.status_code, answer.headers["location"]) == (302, "/dashboard/billing")
        assert fake.all("checkout.session") == []

    def test_a_removed_card_is_charged_no_more_and_it_is_written_down(self, ada: Payer) -> None:
        card = ada.save_card()
        program = session(ada.user, ada.workspace)
        wishes = {"amount_usd": "20", "threshold_usd": "5", "monthly_limit_usd": "100"}
        on = program.ask("PUT", "auto-top-up", wishes | {"enabled": True, "card": card.public_id})
        assert on.status_code == 200

        assert program.ask("DELETE", f"cards/{card.public_id}").status_code == 204

        assert program.get("cards")["data"] == []
        assert not AutoTopUp.objects.get(workspace=ada.workspace).enabled
        event = AuditEvent.objects.get(action="card.removed")
        assert (event.user, event.target) == (ada.user, card.public_id)
        assert program.ask("DELETE", f"cards/{card.public_id}").status_code == 404

    def test_nothing_changes_here_where_stripe_is_away(
        self, ada: Payer, settings: Settings
    ) -> None:
        card = ada.save_card()
        settings.STRIPE_API_BASE = "http://127.0.0.1:9"
        program = session(ada.user, ada.workspace)

        for method, path in (("DELETE", f"cards/{card.public_id}"), ("POST", "cards")):
            error = refusal(program.ask(method, path))
            assert (error["code"], error["reason"]) == (503, "payments_unavailable")
        assert SavedCard.objects.get(pk=card.pk).detached_at is None

    def test_without_stripe_it_says_what_is_missing(self, ada: Payer, settings: Settings) -> None:
        settings.STRIPE_SECRET_KEY = ""

        error = refusal(session(ada.user, ada.workspace).ask("POST", "cards"))

        assert error["code"] == 400
        assert "STRIPE_SECRET_KEY" in error["message"]
