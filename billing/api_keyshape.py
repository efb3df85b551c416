"""What the API tells of a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import prefetch_related_objects
from django.utils import timezone
from rest_framework import serializers

from accounts import versions
from accounts.api import Call, UsdField
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, Membership
from accounts.scopes import Scope
from billing import limits
from billing.models import KeyMeter
from billing.selectors import Window


@dataclass(frozen=True, slots=True)
class KeyShape:
    """A key beside its meter, as one caller may see it."""

    row: ApiKey
    meter: KeyMeter | None
    window: Window
    status: str
    workspaces: list[str]
    other_workspaces: int
    key: str | None = None

    @property
    def version(self) -> str:
        """The version of all that can be changed: the key's own, and its caps'."""
        caps = (self.window.day.limit, self.window.month.limit)
        return f"{self.row.version}-{versions.of(limits.facts(caps))[:8]}"


class KeyOwnerSerializer(serializers.Serializer[Any]):
    """The person or service account whose rights the key uses."""

    kind = serializers.ChoiceField(choices=["user", "service_account"])
    id = serializers.CharField()
    name = serializers.CharField()

    def to_representation(self, instance: ApiKey) -> dict[str, Any]:
        """Write the owner of a key."""
        kind = "user" if instance.service_account_id is None else "service_account"
        return {"kind": kind, "id": instance.owner.public_id, "name": str(instance.owner)}


class KeySerializer(serializers.Serializer[Any]):
    """A key; of its text only the ends."""

    id = serializers.CharField(source="row.public_id")
    name = serializers.CharField(source="row.name")
    hint = serializers.CharField(source="row.hint", help_text="prefix…last4")
    kind = serializers.ChoiceField(source="row.kind", choices=ApiKey.Kind.values)
    status = serializers.ChoiceField(choices=["active", "disabled", "expired"])
    owner = KeyOwnerSerializer(source="row")
    workspaces = serializers.ListField(child=serializers.CharField())
    other_workspaces = serializers.IntegerField(
        help_text="How many more it carries that the caller has no place in."
    )
    scopes = serializers.ListField(
        source="row.scopes", child=serializers.ChoiceField(choices=list(Scope))
    )
    models = serializers.ListField(
        source="row.models", child=serializers.CharField(), allow_null=True
    )
    rpm = serializers.IntegerField(
        source="row.rpm", allow_null=True, help_text="Null: the tier's default."
    )
    tpm = serializers.IntegerField(source="row.tpm", allow_null=True)
    max_streams = serializers.IntegerField(source="row.max_streams", allow_null=True)
    ips = serializers.ListField(source="row.ips", child=serializers.CharField())
    prompt_logging = serializers.BooleanField(source="row.prompt_logging")
    daily_usd = UsdField(source="window.day.limit", allow_null=True)
    monthly_usd = UsdField(source="window.month.limit", allow_null=True)
    used_today_usd = UsdField(source="window.day.used", at_least=6)
    used_this_month_usd = UsdField(source="window.month.used", at_least=6)
    spent_usd = UsdField(source="meter.spent", at_least=6, default=0)
    last_used_at = serializers.DateTimeField(
        source="meter.last_used_at", allow_null=True, default=None
    )
    expires_at = serializers.DateTimeField(source="row.expires_at", allow_null=True)
    disabled_at = serializers.DateTimeField(source="row.disabled_at", allow_null=True)
    created_at = serializers.DateTimeField(source="row.created_at")
    version = serializers.CharField()


class FreshKeySerializer(KeySerializer):
    """A key that was just made, with its text."""

    key = serializers.CharField(help_text="The secret. It is told this once.")


def shapes(rows: Sequence[ApiKey], *, call: Call, text: str | None = None) -> list[KeyShape]:
    """Some keys with what belongs to them, by a fixed number of queries."""
    now = timezone.now()
    prefetch_related_objects(list(rows), "workspaces", "user", "service_account")
    meters = KeyMeter.objects.in_bulk([row.pk for row in rows])
    known = _known(call)
    return [_shape(row, meters.get(row.pk), known, now=now, text=text) for row in rows]


def _known(call: Call) -> frozenset[int]:
    """The workspaces whose ids the caller knows anyway."""
    if isinstance(call.by, KeyRecord):
        return frozenset(place.id for place in call.by.workspaces)
    mine = Membership.objects.filter(user=call.by)
    return frozenset(mine.values_list("workspace_id", flat=True))


def _shape(
    row: ApiKey, meter: KeyMeter | None, known: frozenset[int], *, now: datetime, text: str | None
) -> KeyShape:
    carried = sorted(row.workspaces.all(), key=lambda place: place.pk)
    told = [place.public_id for place in carried if place.pk in known]
    today: date = now.date()
    return KeyShape(
        row=row,
        meter=meter,
        window=Window.of(meter, today=today),
        status=_status(row, now=now),
        workspaces=told,
        other_workspaces=len(carried) - len(told),
        key=text,
    )


def _status(row: ApiKey, *, now: datetime) -> str:
    if row.disabled_at is not None:
        return "disabled"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "active"
