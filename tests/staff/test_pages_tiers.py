from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import tiers
from accounts.models import AuditEvent, Tier
from tests.staff.desk import clerk, desk, open_form

pytestmark = pytest.mark.django_db

FIELDS = {
    "name": "Default", "slug": "default", "default_rpm": "60", "max_rpm": "600",
    "default_daily_nanos": "100", "max_daily_nanos": "500", "default_monthly_nanos": "1000",
    "max_monthly_nanos": "", "min_paid_nanos": "0", "is_default": "on",
    "reason": "As agreed",
}  # fmt: skip


@pytest.fixture
def staff() -> Client:
    return desk(clerk("accounts.view_tier", "accounts.change_tier", "accounts.add_tier"))


def url(tier: Tier) -> str:
    return reverse("admin:accounts_tier_change", args=[tier.pk])


def save(staff: Client, tier: Tier, **fields: str) -> Any:
    return staff.post(url(tier), open_form(staff, url(tier)) | FIELDS | fields, follow=True)


class TestTiers:
    def test_a_change_is_in_dollars_with_a_reason_and_written_down(self, staff: Client) -> None:
        tier = tiers.default()
        save(staff, tier, default_daily_nanos="250.50")
        tier.refresh_from_db()
        assert tier.default_daily_nanos == 250_500_000_000
        assert tier.max_monthly_nanos is None
        written = AuditEvent.objects.get(action="tier.changed")
        assert written.before is not None
        assert written.after is not None
        assert written.before["default_daily_nanos"] == 100 * 10**9
        assert written.after["reason"] == "As agreed"
        assert (
            "250.50 / 500.00"
            in staff.get(reverse("admin:accounts_tier_changelist")).content.decode()
        )

    def test_no_reason_no_change(self, staff: Client) -> None:
        page = save(staff, tiers.default(), default_rpm="61", reason="")
        assert "This field is required" in page.content.decode()
        assert tiers.default().default_rpm == 60
        assert not AuditEvent.objects.filter(action="tier.changed").exists()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"default_rpm": "700"},
            {"default_daily_nanos": "501"},
            {"default_daily_nanos": ""},
            {"default_monthly_nanos": "-1"},
            {"max_monthly_nanos": "5"},
            {"min_paid_nanos": "NaN"},
            {"min_paid_nanos": "1e30"},
            {"max_rpm": "99999999999999999999"},
            {"name": ""},
        ],
    )
    def test_what_cannot_be_is_refused_in_words(self, staff: Client, wrong: dict[str, str]) -> None:
        before = Tier.objects.values().get(is_default=True)
        page = save(staff, tiers.default(), **wrong)
        assert page.status_code == 200
        assert "errorlist" in page.content.decode()
        assert "onstraint" not in page.content.decode()
        assert Tier.objects.values().get(is_default=True) == before

    def test_there_is_always_one_default(self, staff: Client) -> None:
        first = tiers.default()
        without = {name: text for name, text in FIELDS.items() if name != "is_default"}
        page = staff.post(url(first), open_form(staff, url(first)) | without)
        assert "Mark another tier" in page.content.decode()
        form = FIELDS | {"slug": "high", "name": "High"}
        assert staff.post(reverse("admin:accounts_tier_add"), form).status_code == 302
        assert tiers.default().slug == "high"
        assert Tier.objects.filter(is_default=True).count() == 1
        actions = AuditEvent.objects.order_by("id").values_list("action", "target_name")
        assert list(actions) == [("tier.changed", "Default"), ("tier.added", "High")]

    def test_nobody_writes_over_what_somebody_else_changed(self, staff: Client) -> None:
        tier = tiers.default()
        form = open_form(staff, url(tier)) | FIELDS
        Tier.objects.filter(pk=tier.pk).update(max_rpm=601)
        page = staff.post(url(tier), form | {"default_rpm": "61"}).content.decode()
        assert "changed since you read it" in page
        assert tiers.default().default_rpm == 60
