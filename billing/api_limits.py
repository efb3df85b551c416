"""What a workspace may spend, how fast it may call, and what more it could have."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers

from accounts import versions
from accounts.api import Call, Endpoint, Strict, UsdField, VersionField, needs, operation
from accounts.models import Tier
from accounts.scopes import Scope
from billing import ledger, limits
from billing.models import Account
from billing.selectors import Window


class TierSerializer(serializers.Serializer[Any]):
    """A standing; a cap that is null is unlimited."""

    slug = serializers.CharField()
    name = serializers.CharField()
    default_rpm = serializers.IntegerField()
    max_rpm = serializers.IntegerField()
    default_daily_usd = UsdField(source="default_daily_nanos", allow_null=True)
    max_daily_usd = UsdField(source="max_daily_nanos", allow_null=True)
    default_monthly_usd = UsdField(source="default_monthly_nanos", allow_null=True)
    max_monthly_usd = UsdField(source="max_monthly_nanos", allow_null=True)
    min_paid_usd = UsdField(source="min_paid_nanos", help_text="Paid top-ups that lead here.")


class LimitsSerializer(serializers.Serializer[Any]):
    """The caps in force; null is unlimited."""

    daily_usd = UsdField(source="window.day.limit", allow_null=True)
    monthly_usd = UsdField(source="window.month.limit", allow_null=True)
    used_today_usd = UsdField(source="window.day.used", at_least=6)
    used_this_month_usd = UsdField(source="window.month.used", at_least=6)
    tier = TierSerializer()
    tiers = TierSerializer(many=True, help_text="Every tier there is, the lowest first.")
    version = serializers.CharField()


class LimitsChangeSerializer(Strict):
    """Caps to set; what is left out stays, null is unlimited."""

    daily_usd = UsdField(required=False, allow_null=True)
    monthly_usd = UsdField(required=False, allow_null=True)
    version = VersionField()


class LimitsView(Endpoint):
    """``/limits``"""

    @operation(name="get_limits", access=needs(Scope.BILLING_READ), answer=LimitsSerializer)
    def get(self, call: Call) -> dict[str, Any]:
        """The caps of the workspace and its tier."""
        return _shown(call)

    @operation(
        name="update_limits",
        access=needs(Scope.BILLING_MANAGE),
        body=LimitsChangeSerializer,
        answer=LimitsSerializer,
    )
    def patch(self, call: Call) -> dict[str, Any]:
        """Set the caps of the workspace; calls in flight are not touched."""
        daily, monthly = limits.lock_workspace_caps(workspace=call.workspace)
        limits.set_workspace_caps(
            workspace=call.workspace,
            daily=call.body.get("daily_usd", daily),
            monthly=call.body.get("monthly_usd", monthly),
            by=call.by,
            version=call.version,
        )
        return _shown(call)


def _shown(call: Call) -> dict[str, Any]:
    home_id = ledger.open_accounts(workspace_id=call.workspace.pk).usd_id
    home = Account.objects.get(pk=home_id)
    return {
        "window": Window.of(home, today=timezone.now().date()),
        "tier": call.workspace.tier,
        "tiers": list(Tier.objects.order_by("min_paid_nanos", "id")),
        "version": versions.of(limits.facts((home.day_cap, home.month_cap))),
    }
