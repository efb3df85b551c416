from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Workspace
from billing import earnings, rollups
from tests.pages import Inline, closed_request, home, make_key, person
from tests.staff.desk import clerk, desk

pytestmark = pytest.mark.django_db


def use(name: str, count: int = 1, **facts: Any) -> Workspace:
    """So many calls of a new customer."""
    user = person(name)
    place = home(user)
    key = make_key(user)
    for _ in range(count):
        closed_request(key, place, **facts)
    return place


@pytest.fixture
def staff() -> Client:
    return desk(clerk("billing.view_usage"))


def url(**query: str) -> str:
    return reverse("admin:billing_usage_earnings", query=query or None)


class TestRead:
    def test_revenue_less_cost_is_the_margin_by_day_model_provider_and_customer(self) -> None:
        rich = use("rich", 2, charged=500, upstream_cost=300, model="a", provider="p")
        use("poor", charged=100, upstream_cost=250, model="b", provider="q")
        rollups.roll_up()
        today = timezone.now().date()
        found = earnings.read(first=today - timedelta(days=2), last=today)
        assert (found.total.used.spent, found.total.used.upstream_cost) == (1100, 850)
        assert found.total.margin == 250
        assert [line.used.requests for line in found.days] == [3, 0, 0]
        assert [(line.name, line.margin) for line in found.models] == [("a", 400), ("b", -150)]
        assert [line.name for line in found.providers] == ["p", "q"]
        assert next(line.link for line in found.customers) == rich.pk

    def test_what_is_not_summed_yet_is_there_too(self) -> None:
        use("rich", charged=500)
        today = timezone.now().date()
        assert earnings.read(first=today, last=today).total.used.spent == 500

    def test_failures_are_counted_by_provider_model_and_reason(self) -> None:
        use("rich", 2, status=502, reason="upstream_failed", provider="p", model="a")
        use("poor", 1, status=None, reason="unknown", provider="", charged=0, cost=0)
        use("good", 3)
        today = timezone.now().date()
        [first, second] = earnings.read(first=today, last=today).failures
        assert (first.provider, first.model, first.reason, first.calls) == (
            "p", "a", "upstream_failed", 2,
        )  # fmt: skip
        assert (second.reason, second.calls) == ("unknown", 1)


class TestPage:
    def test_it_shows_all_tables(self, staff: Client) -> None:
        use("rich", charged=25 * 10**7, upstream_cost=10**8)
        page = staff.get(url()).content.decode()
        assert "0.25" in page
        assert "60.0%" in page
        assert Inline(page).found == []

    def test_a_loss_is_marked(self, staff: Client) -> None:
        use("rich", charged=1, upstream_cost=10**9)
        assert "staff-bad" in staff.get(url()).content.decode()

    def test_each_table_is_a_file_too(self, staff: Client) -> None:
        use("rich", charged=25 * 10**7, upstream_cost=10**8)
        answer = staff.get(url(csv="models", days="7"))
        assert answer["Content-Type"].startswith("text/csv")
        head, row = answer.content.decode().splitlines()
        assert head.startswith("model,requests,errors,revenue_usd")
        assert row.startswith("test/model,1,0,0.250000,0.100000,0.150000,60.00")
        assert staff.get(url(csv="failures")).content.decode().strip() == (
            "provider,model,reason,calls"
        )
        for table in ("days", "customers", "providers"):
            assert staff.get(url(csv=table)).status_code == 200

    def test_a_strange_range_is_the_usual_one(self, staff: Client) -> None:
        assert staff.get(url(days="99999")).context["days"] == 30

    def test_who_may_not_see_usage_sees_nothing(self) -> None:
        assert desk(clerk("billing.view_customer")).get(url()).status_code == 403
