"""What was used and what it cost, by day, model, key or workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from django.utils import timezone
from rest_framework import serializers

from accounts.api import Call, Endpoint, Listing, Page, UsdField, needs, operation
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, Membership, Workspace
from accounts.scopes import Scope, of_role
from billing import groupings, ledger
from billing.summaries import By, Group, Used
from common.errors import bad_parameter
from common.pagination import Wanted

GROUPS: Final = {
    "day": By.DAY,
    "model": By.MODEL,
    "key": By.KEY,
    "workspace": By.WORKSPACE,
    "asset": By.ASSET,
}
DEFAULT_DAYS: Final = 30
MOST_DAYS: Final = 400


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group: what was not grouped by is None."""

    used: Used
    day: date | None = None
    model: str | None = None
    key_id: str | None = None
    key_name: str | None = None
    workspace_id: str | None = None
    asset: str | None = None


class UsageSerializer(serializers.Serializer[Any]):
    """Sums over the requests of one group; what was not grouped by is null."""

    day = serializers.DateField(allow_null=True)
    model = serializers.CharField(allow_null=True)
    key_id = serializers.CharField(allow_null=True)
    key_name = serializers.CharField(allow_null=True)
    workspace_id = serializers.CharField(allow_null=True)
    asset = serializers.CharField(allow_null=True)
    requests = serializers.IntegerField(source="used.requests")
    errors = serializers.IntegerField(source="used.errors")  # type: ignore[assignment]  # a field: it leaves the class
    cost_usd = UsdField(source="used.spent", at_least=6, help_text="What was charged, in dollars.")
    input_tokens = serializers.IntegerField(source="used.input_tokens")
    cached_tokens = serializers.IntegerField(source="used.cached_tokens")
    cache_write_tokens = serializers.IntegerField(source="used.cache_write_tokens")
    output_tokens = serializers.IntegerField(source="used.output_tokens")
    reasoning_tokens = serializers.IntegerField(source="used.reasoning_tokens")
    images = serializers.IntegerField(source="used.pictures")
    searches = serializers.IntegerField(source="used.searches")


class UsageFilter(Listing):
    """Which usage is wanted, and by what it is summed."""

    group_by = serializers.CharField(
        default="day",
        max_length=64,
        help_text="Up to three of `day`, `model`, `key`, `workspace`, `asset`, comma-separated."
        " `workspace` sums all workspaces whose usage the caller may read, else it is the one.",
    )
    since = serializers.DateField(required=False, help_text="First UTC day; 30 days by default.")
    until = serializers.DateField(required=False, help_text="Last UTC day; today by default.")
    model = serializers.CharField(required=False, max_length=128)
    key_id = serializers.CharField(required=False, max_length=32)
    asset = serializers.ChoiceField(choices=list(ledger.ASSETS), required=False)

    def validate_group_by(self, value: str) -> list[str]:
        """Read the list of groups."""
        names = list(dict.fromkeys(name.strip() for name in value.split(",")))
        if not 1 <= len(names) <= 3 or not GROUPS.keys() >= set(names):
            raise serializers.ValidationError(f"Name up to three of {', '.join(GROUPS)}.")
        return names


class UsageView(Endpoint):
    """``/usage``"""

    @operation(
        name="list_usage",
        access=needs(Scope.USAGE_READ),
        answer=UsageSerializer,
        query=UsageFilter,
        paged=True,
    )
    def get(self, call: Call) -> Page:
        """Sums of requests; days the newest first, other groups the dearest first."""
        places = [call.workspace]
        if "workspace" in call.query["group_by"]:
            places = readable(call)
        return pages_of(places, query=call.query, wanted=call.page)


def readable(call: Call) -> list[Workspace]:
    """Every open workspace whose usage the caller may read; at least the current one."""
    if isinstance(call.by, KeyRecord):
        ids = [
            place.id
            for place in call.by.workspaces
            if Scope.USAGE_READ in place.scopes and not place.closed
        ]
    else:
        mine = Membership.objects.filter(user=call.by, workspace__closed_at=None)
        roles = mine.values_list("workspace_id", "role")
        ids = [place for place, role in roles if Scope.USAGE_READ in of_role(role)]
    return list(Workspace.objects.filter(pk__in=ids).order_by("pk"))


def read(*, workspace: Workspace, query: Any, wanted: Wanted) -> Page:
    """
    One page of groups of one workspace.

    :raises ApiError: 400 a range that is no range, or too long
    """
    return pages_of([workspace], query=query, wanted=wanted)


def pages_of(places: Sequence[Workspace], *, query: Any, wanted: Wanted) -> Page:
    """
    One page of groups of some workspaces.

    :raises ApiError: 400 a range that is no range, or too long
    """
    first, last = _range(query)
    names: list[str] = query["group_by"]
    narrowed: dict[str, Any] = {n: query[n] for n in ("model", "asset") if n in query}
    narrowed["workspace_id"] = [place.pk for place in places]
    if "key_id" in query:
        keys = ApiKey.objects.filter(key_workspaces__workspace__in=places)
        key = keys.filter(public_id=query["key_id"]).first()
        if key is None:
            return Page(rows=[])
        narrowed["key_id"] = key.pk
    by = [GROUPS[name] for name in names]
    groups, following = groupings.page(
        by=by, first=first, last=last, narrowed=narrowed, wanted=wanted
    )
    return Page(_named(names, groups, places), following)


def _range(query: Any) -> tuple[date, date]:
    last = query.get("until") or timezone.now().date()
    first = query.get("since") or max(date.min + timedelta(MOST_DAYS), last) - timedelta(
        days=DEFAULT_DAYS - 1
    )
    if first > last:
        raise bad_parameter("since is after until.", param="since")
    if (last - first).days >= MOST_DAYS:
        raise bad_parameter(f"Ask for at most {MOST_DAYS} days at once.", param="since")
    return first, last


def _named(
    names: list[str], groups: Sequence[Group], places: Sequence[Workspace]
) -> list[UsageRow]:
    told = {place.pk: place.public_id for place in places}
    rows = [dict(zip(names, group.key, strict=True)) for group in groups]
    keys = ApiKey.objects.only("public_id", "name").in_bulk(
        [row["key"] for row in rows if "key" in row]
    )
    return [_row(row, group.used, keys, told) for row, group in zip(rows, groups, strict=True)]


def _row(
    row: dict[str, Any], used: Used, keys: dict[int, ApiKey], places: dict[int, str]
) -> UsageRow:
    key = keys.get(row.get("key", 0))
    return UsageRow(
        used=used,
        day=row.get("day"),
        model=row.get("model"),
        key_id=key.public_id if key else None,
        key_name=key.name if key else None,
        workspace_id=places.get(row.get("workspace", 0)),
        asset=row.get("asset"),
    )
