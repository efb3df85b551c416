from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace as Row

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import reverse

from billing.adminrows import amount, detail
from billing.models import Price
from tests import staffing


class TestAmount:
    def test_dollars_are_exact_and_other_assets_have_their_name(self) -> None:
        shown = amount("charged", "Charged")
        assert shown(Row(charged=2_000_000_001, asset="USD")) == "2.000000001 USD"
        assert shown(Row(charged=3, asset="TOK")) == "3 TOK"

    def test_the_unit_is_where_it_is_said(self) -> None:
        row = Row(amount=150, account=Row(asset="USD"), missing=None)
        assert amount("amount", "Given", unit="cents")(row) == "1.50 USD"
        assert amount("amount", "Given", unit="account__asset")(row) == "0.00000015 USD"
        assert amount("missing", "Given", unit="nanos")(row) == "-"

    def test_prices_are_of_a_million_tokens_or_of_one_piece(self) -> None:
        row = Row(prompt=2_500_000, per_call=10**10)
        assert amount("prompt", "Prompt", unit="picos_per_token")(row) == "2.50 USD per million"
        assert amount("per_call", "Per call", unit="picos")(row) == "0.01 USD"


class TestDetail:
    def test_the_integer_stands_beside_the_dollars(self) -> None:
        row = Row(charged=250_000_000, asset="USD", tax_cents=150, none=None)
        assert detail("charged", "Charged", unit="asset")(row) == (
            "0.25 USD <small>(250000000 nano-dollars)</small>"
        )
        assert detail("tax_cents", "Tax", unit="cents")(row) == (
            "1.50 USD <small>(150 cents)</small>"
        )
        assert detail("none", "None", unit="nanos")(row) == "-"

    def test_other_assets_are_counted_in_what_they_are(self) -> None:
        assert detail("charged", "Charged", unit="asset")(Row(charged=3, asset="<b>")) == "3 <b>"


@pytest.mark.django_db
class TestPages:
    def test_every_column_that_says_nanos_or_cents_is_told_in_dollars(
        self, rf: RequestFactory
    ) -> None:
        request = rf.get("/admin/")
        request.user = staffing.member("viewer@example.com", group="viewer")
        looked = 0
        for model, page in admin.site._registry.items():
            if model._meta.app_label not in ("accounts", "billing", "proxy"):
                continue
            row = model()
            shown = [*page.get_list_display(request), *page.get_fields(request, row)]
            raw = {each for each in shown if isinstance(each, str)} & {
                field.name for field in model._meta.get_fields()
            }
            looked += len(raw)
            assert not {name for name in raw if name.endswith(("_nanos", "_cents"))}, model
        assert looked > 200

    def test_a_row_is_shown_in_dollars(self, client: Client) -> None:
        price = Price.objects.create(
            subject="m", role="retail", prompt=2_500_000, completion=10**7,
            effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        staffing.sign_in(client, staffing.member("viewer@example.com", group="viewer"))
        page = client.get(reverse("admin:billing_price_change", args=[price.pk]))
        text = page.content.decode()
        assert "2.50 USD per million <small>(2500000 pico-dollars per token)</small>" in text
        listed = client.get(reverse("admin:billing_price_changelist")).content.decode()
        assert "10.00 USD per million" in listed
