"""API keys with their caps: listed, made, changed, rotated, stopped. The text is told once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone
from rest_framework import serializers

from accounts import keylimits, keyrotation, keys, service_accounts, versions, workspaces
from accounts.api import (
    Call,
    Endpoint,
    Listing,
    Page,
    Strict,
    UsdField,
    VersionField,
    needs,
    operation,
)
from accounts.errors import ForeignWorkspace, Invalid, Missing
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, ServiceAccount, User, Workspace
from accounts.scopes import Scope
from billing import limits
from billing.api_keyshape import FreshKeySerializer, KeySerializer, KeyShape, shapes
from common import pagination

MANAGE = needs(Scope.KEYS_MANAGE, people=True)
READ = needs(Scope.KEYS_READ, people=True)
TERMS = (
    "name",
    "scopes",
    "models",
    "rpm",
    "tpm",
    "max_streams",
    "ips",
    "expires_at",
    "prompt_logging",
)
MAX_OVERLAP_H = keyrotation.MAX_OVERLAP // timedelta(hours=1)


class KeyFilter(Listing):
    """Which keys are wanted."""

    status = serializers.ChoiceField(choices=["active", "disabled", "expired"], required=False)
    owner = serializers.CharField(
        required=False, max_length=32, help_text="usr_… or sa_…: only the keys of this owner."
    )


class TermsSerializer(Strict):
    """What a key may do."""

    name = serializers.CharField(max_length=100, required=False)
    workspaces = serializers.ListField(
        child=serializers.CharField(max_length=128),
        required=False,
        min_length=1,
        max_length=keylimits.MAX_LIST,
        help_text="ws_… or external ids; new keys carry the current workspace without it.",
    )
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(Scope)),
        required=False,
        min_length=1,
        max_length=len(Scope),
    )
    models = serializers.ListField(
        child=serializers.CharField(max_length=128),
        required=False,
        allow_null=True,
        max_length=keylimits.MAX_LIST,
        help_text="The models that may be called; null for all.",
    )
    rpm = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=keylimits.MAX_RPM
    )
    tpm = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=keylimits.MAX_TPM
    )
    max_streams = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=keylimits.MAX_STREAMS
    )
    ips = serializers.ListField(
        child=serializers.CharField(max_length=64), required=False, max_length=keylimits.MAX_LIST
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    prompt_logging = serializers.BooleanField(
        required=False,
        help_text="False: of its calls no words are kept, whatever the workspace chose.",
    )
    daily_usd = UsdField(required=False, allow_null=True, help_text="Null: no cap of its own.")
    monthly_usd = UsdField(required=False, allow_null=True, help_text="Null: no cap of its own.")


class NewKeySerializer(TermsSerializer):
    """A key to make."""

    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(Scope)), min_length=1, max_length=len(Scope)
    )
    service_account_id = serializers.CharField(
        required=False, max_length=32, help_text="The owner, where it is not the caller."
    )


class KeyChangeSerializer(TermsSerializer):
    """What can be changed of a key; what is left out stays."""

    version = VersionField()


class RotationSerializer(Strict):
    """How long the old key goes on."""

    overlap_hours = serializers.IntegerField(
        required=False, default=24, min_value=0, max_value=MAX_OVERLAP_H
    )


class KeysView(Endpoint):
    """``/keys``"""

    @operation(name="list_keys", access=READ, answer=KeySerializer, query=KeyFilter, paged=True)
    def get(self, call: Call) -> Page:
        """The keys of the workspace that the caller may see, the newest first."""
        found = keys.visible(workspace=call.workspace, by=call.by)
        if status := call.query.get("status"):
            found = found.filter(_in_status(status))
        if owner := call.query.get("owner"):
            found = found.filter(Q(user__public_id=owner) | Q(service_account__public_id=owner))
        rows, following = pagination.by_id(found, call.page)
        return Page(shapes(rows, call=call), following)

    @operation(
        name="create_key",
        access=MANAGE,
        body=NewKeySerializer,
        answer=FreshKeySerializer,
        status=201,
        once=True,
    )
    def post(self, call: Call) -> KeyShape:
        """Make a key. Its text is in this answer and nowhere else."""
        person, account = _owner(call)
        key, text = keys.create(
            by=call.by,
            workspaces=_places(call) or [call.workspace],
            user=person,
            service_account=account,
            **({"scopes": ()} | {name: call.body[name] for name in TERMS if name in call.body}),
        )
        _set_caps(call, key)
        return _shape(call, key, text=text)


class KeyView(Endpoint):
    """``/keys/{key_id}``"""

    @operation(name="get_key", access=READ, answer=KeySerializer)
    def get(self, call: Call, key_id: str) -> KeyShape:
        """One key."""
        return _shape(call, _key(call, key_id))

    @operation(name="update_key", access=MANAGE, body=KeyChangeSerializer, answer=KeySerializer)
    def patch(self, call: Call, key_id: str) -> KeyShape:
        """Change what is given, leave the rest; the next request with the key is bound by it."""
        key = _locked(call, key_id)
        versions.require(wanted=call.version, current=_shape(call, key).version)
        given: dict[str, Any] = {name: call.body[name] for name in TERMS if name in call.body}
        if places := _places(call):
            given["workspaces"] = places
        changed = keys.update(key=key, by=call.by, **given)
        _set_caps(call, changed)
        return _shape(call, changed)

    @operation(name="delete_key", access=MANAGE, status=204)
    def delete(self, call: Call, key_id: str) -> None:
        """Stop a key for good; what it spent stays on record."""
        keys.delete(key=_key(call, key_id), by=call.by)


class KeyRotateView(Endpoint):
    """``/keys/{key_id}/rotate``"""

    @operation(
        name="rotate_key",
        access=MANAGE,
        body=RotationSerializer,
        answer=FreshKeySerializer,
        status=201,
        once=True,
    )
    def post(self, call: Call, key_id: str) -> KeyShape:
        """Make a successor with the same rights; this key ends after the overlap."""
        overlap = timedelta(hours=call.body["overlap_hours"])
        new, text = keys.rotate(key=_key(call, key_id), overlap=overlap, by=call.by)
        return _shape(call, new, text=text)


class KeyDisableView(Endpoint):
    """``/keys/{key_id}/disable``"""

    @operation(name="disable_key", access=MANAGE, answer=KeySerializer)
    def post(self, call: Call, key_id: str) -> KeyShape:
        """Refuse the key until it is enabled again."""
        return _shape(call, keys.disable(key=_key(call, key_id), by=call.by))


class KeyEnableView(Endpoint):
    """``/keys/{key_id}/enable``"""

    @operation(name="enable_key", access=MANAGE, answer=KeySerializer)
    def post(self, call: Call, key_id: str) -> KeyShape:
        """Let the key work again."""
        return _shape(call, keys.enable(key=_key(call, key_id), by=call.by))


def _key(call: Call, key_id: str) -> ApiKey:
    found = keys.visible(workspace=call.workspace, by=call.by).filter(public_id=key_id).first()
    if found is None:
        raise Missing("There is no such key in this workspace.")
    return found


def _locked(call: Call, key_id: str) -> ApiKey:
    """The key, with its row and its caps locked before its version is looked at."""
    key = ApiKey.objects.select_for_update(no_key=True).get(pk=_key(call, key_id).pk)
    limits.lock_key_caps(key=key)
    return key


def _shape(call: Call, key: ApiKey, *, text: str | None = None) -> KeyShape:
    [shape] = shapes([key], call=call, text=text)
    return shape


def _in_status(status: str) -> Q:
    over = Q(expires_at__lte=timezone.now())
    disabled = Q(disabled_at__isnull=False)
    return {"disabled": disabled, "expired": ~disabled & over, "active": ~disabled & ~over}[status]


def _owner(call: Call) -> tuple[User | None, ServiceAccount | None]:
    """Who the new key belongs to: a named service account, else the caller."""
    named = call.body.get("service_account_id")
    if named is not None:
        found = ServiceAccount.objects.filter(workspace=call.workspace, public_id=named).first()
        if found is None:
            raise Invalid("There is no such service account.", param="service_account_id")
        return None, found
    if isinstance(call.by, KeyRecord) and call.by.service_account_id is not None:
        return None, service_accounts.by_id(pk=call.by.service_account_id)
    return call.caller.person, None


def _places(call: Call) -> list[Workspace]:
    """The workspaces that the body names, if the caller has a place in them."""
    try:
        return [_place(call, text) for text in call.body.get("workspaces", ())]
    except ForeignWorkspace as refusal:
        refusal.param = "workspaces"
        raise


def _place(call: Call, text: str) -> Workspace:
    if isinstance(call.by, User):
        return workspaces.resolve(user=call.by, text=text)
    carried = call.by.workspace(text)
    if carried is None or carried.closed:
        raise ForeignWorkspace("The key does not carry this workspace.")
    return Workspace.objects.get(pk=carried.id)


def _set_caps(call: Call, key: ApiKey) -> None:
    body: Mapping[str, Any] = call.body
    if "daily_usd" not in body and "monthly_usd" not in body:
        return
    daily, monthly = limits.lock_key_caps(key=key)
    limits.set_key_caps(
        key=key,
        daily=body.get("daily_usd", daily),
        monthly=body.get("monthly_usd", monthly),
        by=call.by,
    )
