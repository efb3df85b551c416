"""Tiers and packages of tokens in the admin site: in dollars, changed with a reason."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.db import models
from django.db.models import Model
from django.http import HttpRequest

from accounts.models import Tier
from billing.adminforms import ReasonedAdmin, ReasonedForm, facts
from billing.forms import UsdField
from billing.models import TokenPackage
from common import money

LIMITS: Final = {
    "default_daily_nanos": "Per day when a workspace begins, USD",
    "max_daily_nanos": "Per day at most, USD",
    "default_monthly_nanos": "Per month when a workspace begins, USD",
    "max_monthly_nanos": "Per month at most, USD",
}
# A tier bounds what customers ask for; what begins above the bound could not be kept.
PAIRS: Final = (
    ("default_rpm", "max_rpm"),
    ("default_daily_nanos", "max_daily_nanos"),
    ("default_monthly_nanos", "max_monthly_nanos"),
)


def _usd(label: str, *, required: bool = False, help_text: str = "Empty: no limit.") -> UsdField:
    return UsdField(label=label, required=required, help_text=help_text)


class TierForm(ReasonedForm):
    """A tier, its money in dollars."""

    default_rpm = forms.IntegerField(
        label="Requests per minute of a key", min_value=0, max_value=10**6
    )
    max_rpm = forms.IntegerField(
        label="Requests per minute at most", min_value=0, max_value=10**6
    )  # fmt: skip
    default_daily_nanos = _usd(LIMITS["default_daily_nanos"])
    max_daily_nanos = _usd(LIMITS["max_daily_nanos"])
    default_monthly_nanos = _usd(LIMITS["default_monthly_nanos"])
    max_monthly_nanos = _usd(LIMITS["max_monthly_nanos"])
    min_paid_nanos = _usd(
        "Paid until one gets here, USD", required=True, help_text="For people to read."
    )

    class Meta:
        model = Tier
        fields = (
            "name", "slug", "default_rpm", "max_rpm", *LIMITS, "min_paid_nanos", "is_default",
        )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """Refuse what the database would refuse, in words."""
        answers = super().clean()
        for begin, most in PAIRS:
            if most in answers and begin in answers and _passes(answers[begin], answers[most]):
                self.add_error(begin, "This is more than the most that the tier allows.")
        stored = getattr(self, "stored", None)
        if stored is not None and stored.is_default and not answers.get("is_default"):
            self.add_error("is_default", "Mark another tier instead: new workspaces need one.")
        return answers

    def _get_validation_exclusions(self) -> set[str]:
        """Let a second one be marked: the page takes the mark from the first."""
        known: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]  # private
        return {*known, "is_default"}


class PackageForm(ReasonedForm):
    """A package of tokens, its price in dollars."""

    price_nanos = _usd("Price, USD", required=True, help_text="E.g. 10 or 9.90, for all of it.")

    class Meta:
        model = TokenPackage
        fields = (
            "slug", "name", "tokens", "price_nanos", "bonus_tokens", "bonus_days", "enabled",
        )  # fmt: skip

    def clean_price_nanos(self) -> int:
        """Refuse to give it away: a present is a grant."""
        price: int = self.cleaned_data["price_nanos"]
        if price == 0:
            raise forms.ValidationError("Write more than nothing: what is free is a grant.")
        return price


def _passes(begin: int | None, most: int | None) -> bool:
    return most is not None and (begin is None or begin > most)


@admin.register(Tier)
class TierAdmin(ReasonedAdmin):
    """Standings. A change of its rates reaches running gateways with the next request."""

    noun = "tier"
    form = TierForm
    list_display = (
        "name", "slug", "default_rpm", "max_rpm", "daily", "monthly", "paid_usd", "workspaces",
        "is_default",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Tier]:
        """Return tiers with the number of their open workspaces."""
        is_open = models.Q(workspaces__closed_at=None)
        return Tier.objects.annotate(many=models.Count("workspaces", filter=is_open))

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never: workspaces stand on them."""
        return False

    @admin.display(description="Per day, USD")
    def daily(self, tier: Tier) -> str:
        """What a workspace begins with, and the most it may ask for."""
        return _range(tier.default_daily_nanos, tier.max_daily_nanos)

    @admin.display(description="Per month, USD")
    def monthly(self, tier: Tier) -> str:
        """The same of months."""
        return _range(tier.default_monthly_nanos, tier.max_monthly_nanos)

    @admin.display(description="From paid, USD", ordering="min_paid_nanos")
    def paid_usd(self, tier: Tier) -> str:
        """What was paid until one gets here."""
        return money.usd(tier.min_paid_nanos)

    @admin.display(description="Workspaces", ordering="many")
    def workspaces(self, tier: Any) -> int:
        """How many open workspaces stand on it."""
        return int(tier.many)

    def save_model(self, request: HttpRequest, obj: Tier, form: Any, change: bool) -> None:
        """Save; where it becomes the default, the one before is that no more."""
        if obj.is_default:
            others = Tier.objects.select_for_update(no_key=True).filter(is_default=True)
            for other in others.exclude(pk=obj.pk):
                before = facts(other)
                other.is_default = False
                other.save(update_fields=["is_default"])
                reason = form.cleaned_data["reason"]
                self.write_down(request, other, "tier.changed", reason, before, facts(other))
        super().save_model(request, obj, form, change)


def _range(begin: int | None, most: int | None) -> str:
    return " / ".join("no limit" if each is None else money.usd(each) for each in (begin, most))
