"""When the people who look after the money are told."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from accounts import versions
from accounts.api import Call, Endpoint, Strict, UsdField, VersionField, needs, operation
from accounts.scopes import Scope
from billing import alerts


class AlertsSerializer(serializers.Serializer[Any]):
    """When a workspace is told; caps tell at 50, 80 and 100 % by themselves."""

    low_balance_usd = UsdField(help_text="Below it people are told; 0 is never.")
    is_default = serializers.BooleanField(help_text="Whether it is what the operator has set.")
    default_usd = UsdField()
    version = serializers.CharField()


class AlertsChangeSerializer(Strict):
    """When to be told."""

    low_balance_usd = UsdField(allow_null=True, help_text="Null: what the operator has set.")
    version = VersionField()


class AlertsView(Endpoint):
    """``/alerts``"""

    @operation(name="get_alerts", access=needs(Scope.BILLING_READ), answer=AlertsSerializer)
    def get(self, call: Call) -> dict[str, Any]:
        """Below which balance people are told."""
        return _shown(call)

    @operation(
        name="update_alerts",
        access=needs(Scope.BILLING_MANAGE),
        body=AlertsChangeSerializer,
        answer=AlertsSerializer,
    )
    def patch(self, call: Call) -> dict[str, Any]:
        """Set below which balance people are told."""
        alerts.set_low_balance(
            workspace=call.workspace,
            nanos=call.body["low_balance_usd"],
            by=call.by,
            version=call.version,
        )
        return _shown(call)


def _shown(call: Call) -> dict[str, Any]:
    facts = alerts.facts(workspace=call.workspace)
    return {
        "low_balance_usd": alerts.low_balance_nanos(workspace=call.workspace),
        "is_default": facts["low_balance_usd"] is None,
        "default_usd": settings.LOW_BALANCE_NANOS,
        "version": versions.of(facts),
    }
