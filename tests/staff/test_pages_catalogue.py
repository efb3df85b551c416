from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from billing import prices
from billing.models import Price
from billing.pricing import Rates
from proxy import margins
from proxy.models import Incident, Model, ModelAlias, Provider, Route
from tests.pages import Inline
from tests.staff.desk import clerk, desk, open_form, take

pytestmark = pytest.mark.django_db

PAST = datetime(2026, 1, 1, tzinfo=UTC)
PRICE = {
    "effective_from": "", "prompt": "", "completion": "", "cached_prompt": "", "cache_write": "",
    "per_call": "", "web_search": "", "image": "",
}  # fmt: skip


@pytest.fixture
def staff() -> Client:
    return desk(clerk(superuser=True, name="boss"))


@pytest.fixture
def model() -> Model:
    """Sold for $1 and $2 per million, bought for $0.25 and $2.50: answers are a loss."""
    provider = Provider.objects.create(slug="first", kind="openai", base_url="http://a.example/v1")
    model = Model.objects.create(
        slug="a/b", name="B", owned_by="a", kind="chat", context_length=8000,
        max_output_tokens=1000,
    )  # fmt: skip
    route = Route.objects.create(model=model, provider=provider, upstream_model="b")
    set_price("a/b", "retail", prompt=1_000_000, completion=2_000_000)
    set_price(route.subject, "cost", prompt=250_000, completion=2_500_000)
    return model


def set_price(subject: str, role: str, **rates: Any) -> None:
    prices.set_price(subject=subject, role=role, rates=Rates(**rates), now=PAST)


def price_url(model: Model) -> str:
    return reverse("admin:proxy_model_price", args=[model.pk])


def in_force(subject: str = "a/b", role: str = "retail") -> Rates:
    found = prices.rates_at(subject=subject, role=role, now=timezone.now())
    assert found is not None
    return found.rates


class TestMargins:
    def test_each_part_s_margin_is_a_share_of_its_price(self, model: Model) -> None:
        [margin] = margins.of_models(models=[model], now=timezone.now())[model.pk]
        by_name = {part.name: part.percent for part in margin.parts}
        assert by_name["prompt"] == Decimal("75.00")
        assert by_name["completion"] == Decimal("-25.00")
        assert (margin.least, margin.loses) == (Decimal("-25.00"), True)

    def test_what_is_given_away_has_none_and_may_be_a_loss(self, model: Model) -> None:
        part = margins.Part("prompt", 0, 5, per_token=True)
        assert (part.percent, part.loses) == (None, True)

    def test_a_route_with_a_price_of_its_own_is_judged_by_that(self, model: Model) -> None:
        route = Route.objects.get()
        route.own_price = True
        route.save()
        set_price(route.subject, "retail", prompt=500_000, completion=5_000_000)
        [margin] = margins.of_models(models=[model], now=timezone.now())[model.pk]
        assert (margin.least, margin.loses) == (Decimal("50.00"), False)

    def test_without_a_cost_price_nobody_knows(self, model: Model) -> None:
        Route.objects.update(upstream_model="another")
        [margin] = margins.of_models(models=[model], now=timezone.now())[model.pk]
        assert (margin.least, margin.parts) == (None, [])

    def test_pages_warn_of_a_loss(self, model: Model, staff: Client) -> None:
        lists = [reverse(f"admin:proxy_{name}_changelist") for name in ("model", "route")]
        page = reverse("admin:proxy_model_change", args=[model.pk])
        for url in (*lists, page):
            text = staff.get(url).content.decode()
            assert "-25.00" in text
            assert "LOSS" in text or "A loss" in text
            assert Inline(text).found == []


class TestPrice:
    def test_a_new_price_is_a_new_version_and_the_old_one_stays(
        self, model: Model, staff: Client
    ) -> None:
        answers = PRICE | {"subject": "retail a/b", "prompt": "3", "completion": "6.50"}
        take(staff, price_url(model), **answers, reason="Dearer from today")
        rows = list(Price.objects.filter(subject="a/b", role="retail").order_by("effective_from"))
        assert [row.prompt for row in rows] == [1_000_000, 3_000_000]
        assert in_force().completion == 6_500_000
        written = AuditEvent.objects.get(action="catalogue.price.added")
        assert written.before is not None
        assert written.after is not None
        assert (written.before["prompt"], written.after["prompt"]) == (1_000_000, 3_000_000)
        assert written.after["reason"] == "Dearer from today"
        assert (
            "3.00 / 6.50 per M"
            in staff.get(reverse("admin:proxy_model_change", args=[model.pk])).content.decode()
        )

    def test_it_may_begin_in_time_to_come(self, model: Model, staff: Client) -> None:
        start = (timezone.now() + timedelta(days=2)).strftime("%Y-%m-%d %H:%M")
        answers = PRICE | {"subject": "retail a/b", "prompt": "3", "completion": "6"}
        take(staff, price_url(model), **(answers | {"effective_from": start}))
        assert in_force().prompt == 1_000_000
        assert Price.objects.filter(subject="a/b", prompt=3_000_000).exists()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"effective_from": "2026-01-01 00:00"},
            {"prompt": "-1"},
            {"prompt": "1e9999"},
            {"prompt": "0.0000001"},
            {"prompt": ""},
            {"image": "1024x1024 high"},
            {"subject": "retail other/model"},
        ],
    )
    def test_what_cannot_be_is_refused(
        self, model: Model, staff: Client, wrong: dict[str, str]
    ) -> None:
        answers = PRICE | {"subject": "retail a/b", "prompt": "3", "completion": "6"} | wrong
        page = take(staff, price_url(model), **answers)
        assert page.status_code == 422
        assert Price.objects.count() == 2

    def test_the_same_price_is_no_new_version(self, model: Model, staff: Client) -> None:
        answers = PRICE | {"subject": "retail a/b", "prompt": "1", "completion": "2"}
        page = take(staff, price_url(model), **answers)
        assert "That is the price" in page.content.decode()
        assert Price.objects.count() == 2

    def test_what_a_provider_takes_is_a_version_too(self, model: Model, staff: Client) -> None:
        subject = Route.objects.get().subject
        answers = PRICE | {"subject": f"cost {subject}", "prompt": "0.2", "completion": "1"}
        take(staff, price_url(model), **answers)
        assert in_force(subject, "cost").prompt == 200_000

    def test_two_who_set_one_price_are_told(self, model: Model, staff: Client) -> None:
        first, second = (open_form(staff, price_url(model)) for _ in range(2))
        answers = PRICE | {"subject": "retail a/b", "completion": "6", "reason": "Dearer"}
        staff.post(price_url(model), first | answers | {"prompt": "3"})
        page = staff.post(price_url(model), second | answers | {"prompt": "4"})
        assert "changed since you read it" in page.content.decode()
        assert in_force().prompt == 3_000_000

    def test_pictures_have_a_price_each(self, model: Model, staff: Client) -> None:
        Model.objects.filter(pk=model.pk).update(kind="image")
        answers = PRICE | {"subject": "retail a/b", "image": "1024x1024 low 0.01\nauto high 0.04"}
        take(staff, price_url(model), **answers)
        assert in_force().image == {"1024x1024": {"low": 10**10}, "auto": {"high": 4 * 10**10}}

    def test_who_may_only_look_sets_none(self, model: Model) -> None:
        looker = desk(clerk("proxy.view_model", "billing.view_price"))
        assert looker.post(price_url(model), {"reason": "Mine"}).status_code == 403


class TestForms:
    def model_form(self, staff: Client, model: Model, **changes: Any) -> Any:
        url = reverse("admin:proxy_model_change", args=[model.pk])
        route = Route.objects.get()
        form = open_form(staff, url) | {
            "slug": "a/b", "name": "B", "owned_by": "a", "kind": "chat", "context_length": "8000",
            "max_output_tokens": "1000", "max_image_tokens": "1500",
            "prompt_overhead_tokens": "100", "capabilities": "", "unsupported": "",
            "output_limit": "max_tokens", "enabled": "on", "reason": "Its name was wrong",
            "routes-0-model": str(model.pk), "routes-0-id": str(route.pk),
            "routes-0-provider": str(route.provider_id), "routes-0-upstream_model": "b",
            "routes-0-priority": "0", "routes-0-enabled": "on",
        }  # fmt: skip
        return staff.post(url, form | changes)

    def test_a_model_and_its_lines_are_written_down_with_the_reason(
        self, model: Model, staff: Client
    ) -> None:
        lines = {
            "aliases-TOTAL_FORMS": "1", "aliases-0-alias": "bee", "aliases-0-model": str(model.pk),
            "routes-0-priority": "7",
        }  # fmt: skip
        answer = self.model_form(staff, model, name="Bee", **lines)
        assert answer.status_code == 302, answer.context["errors"]
        model.refresh_from_db()
        assert model.name == "Bee"
        assert ModelAlias.objects.get().alias == "bee"
        changed = AuditEvent.objects.get(action="model.changed")
        assert changed.before == {"name": "B", "reason": None}
        assert changed.after == {"name": "Bee", "reason": "Its name was wrong"}
        route = AuditEvent.objects.get(action="model.route.changed")
        assert route.before == {"priority": 0, "reason": None}
        assert route.after == {"priority": 7, "reason": "Its name was wrong"}
        assert AuditEvent.objects.filter(action="model.modelalias.added").count() == 1

    def test_a_model_is_never_deleted(self, model: Model, staff: Client) -> None:
        url = reverse("admin:proxy_model_delete", args=[model.pk])
        assert staff.post(url, {"post": "yes"}).status_code == 403


class TestIncidents:
    def test_opened_with_a_reason_it_is_on_the_status_page_and_closed_it_says_so(
        self, staff: Client
    ) -> None:
        form = {
            "title": "Slow answers", "text": "We look into it.", "reason": "Pages from on call",
            "began_at_0": "2026-11-20", "began_at_1": "10:00:00",
            "ended_at_0": "", "ended_at_1": "",
        }  # fmt: skip
        staff.post(reverse("admin:proxy_incident_add"), form)
        incident = Incident.objects.get()
        assert "Slow answers" in Client().get("/status").content.decode()
        take(staff, reverse("admin:proxy_incident_close", args=[incident.pk]), reason="Fixed")
        incident.refresh_from_db()
        assert incident.ended_at is not None
        assert AuditEvent.objects.get(action="incident.closed").after is not None
        added = AuditEvent.objects.get(action="incident.added").after
        assert added is not None
        assert added["reason"] == "Pages from on call"
        again = staff.get(reverse("admin:proxy_incident_close", args=[incident.pk]))
        assert again.status_code == 302
