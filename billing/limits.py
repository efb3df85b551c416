"""Spending caps of workspaces and keys, in nano-dollars per UTC day and month; None = no cap."""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.utils.translation import gettext as _

from accounts import actors, audit, keybounds, keyrights, versions
from accounts.actors import Actor
from accounts.errors import Forbidden
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, ApiKeyWorkspace, Tier, Workspace
from accounts.scopes import Scope
from accounts.templatetags.show import grouped
from billing import ledger
from billing.models import Account, KeyMeter
from common import money
from common.errors import ApiError

Caps = tuple[int | None, int | None]
CAPS: Final = ("daily_usd", "monthly_usd")


class AboveTier(ApiError):
    """The tier of a workspace does not allow a cap this high; ``param`` is which."""

    def __init__(self, message: str, *, param: str) -> None:
        super().__init__("invalid_parameter", message, param=param)


@transaction.atomic
def set_workspace_caps(
    *,
    workspace: Workspace,
    daily: int | None,
    monthly: int | None,
    by: Actor,
    past_tier: bool = False,
    version: str | None = None,
    reason: str = "",
) -> None:
    """
    Set what a workspace may spend; it may be less than what is spent already.

    :raises AboveTier: more than the tier allows, and not set by an operator
    :raises accounts.errors.Conflict: the caps are not at the version that was asked for
    :raises accounts.errors.Forbidden: without billing:manage there
    :raises ValueError: negative
    """
    _not_negative(daily, monthly)
    if Scope.BILLING_MANAGE not in actors.rights(by=by, workspace=workspace):
        raise Forbidden(
            _("Your right here does not include %(right)s.") % {"right": "billing:manage"}
        )
    if not past_tier:
        _check(tiers=[workspace.tier], daily=daily, monthly=monthly)
    home = _lock_home(workspace)
    before = facts((home.day_cap, home.month_cap))
    versions.require(wanted=version, current=versions.of(before))
    Account.objects.filter(pk=home.pk).update(day_cap=daily, month_cap=monthly)
    audit.record(
        action="limits.changed",
        by=by,
        target=audit.Target(workspace.public_id, workspace.name),
        workspaces=[workspace],
        before=before,
        after=facts((daily, monthly)) | ({"reason": reason} if reason else {}),
    )


def facts(caps: tuple[int | None, int | None]) -> dict[str, object]:
    """A daily and a monthly cap as they are written down: exact dollars, or no cap."""
    daily, monthly = (None if cap is None else money.usd(cap) for cap in caps)
    return {"daily_usd": daily, "monthly_usd": monthly}


@transaction.atomic
def set_key_caps(
    *, key: ApiKey, daily: int | None, monthly: int | None, by: Actor, past_tier: bool = False
) -> None:
    """
    Set what a key may spend, in all its workspaces together; their own caps hold as well.

    :raises AboveTier: more than a tier of its workspaces allows, and not set by an operator
    :raises accounts.errors.Forbidden: not theirs to change, or more than a key that asks has
    :raises ValueError: negative
    """
    _not_negative(daily, monthly)
    keyrights.require_to_change(by=by, key=key)
    before = lock_key_caps(key=key)
    _require_within(by=by, before=before, after=(daily, monthly))
    if not past_tier:
        # A key without a cap of its own is still bounded by its workspace's: 0 stands for it.
        tiers = list(Tier.objects.filter(workspaces__api_keys=key))
        _check(tiers=tiers, daily=daily or 0, monthly=monthly or 0)
    KeyMeter.objects.filter(pk=key.pk).update(day_cap=daily, month_cap=monthly)
    places = ApiKeyWorkspace.objects.filter(key=key).values_list("workspace_id", flat=True)
    audit.record(
        action="key.limits_changed",
        by=by,
        target=audit.Target(key.public_id, key.name),
        workspaces=list(places),
        before=facts(before),
        after=facts((daily, monthly)),
    )


def hand_on(by: KeyRecord, key: ApiKey, new: bool) -> None:
    """
    Bind a key by the caps of the key that makes or revives it: a new one is narrowed to them.

    :raises accounts.errors.Forbidden: it is not new, and has more
    """
    own, caps = _caps(key_id=by.id), _caps(key_id=key.pk)
    if new:
        daily, monthly = (_least(cap, most) for cap, most in zip(caps, own, strict=True))
        KeyMeter.objects.filter(pk=key.pk).update(day_cap=daily, month_cap=monthly)
        return
    for name, cap, most in zip(CAPS, caps, own, strict=True):
        if _least(cap, most) != cap:
            raise keybounds.beyond(name)


def narrower(by: KeyRecord, workspace: Workspace) -> str | None:
    """Which cap of a key is below what a new key of a person has there; None where none is."""
    tier = workspace.tier
    usual = (tier.default_daily_nanos, tier.default_monthly_nanos)
    pairs = zip(CAPS, _caps(key_id=by.id), usual, strict=True)
    return next((name for name, own, most in pairs if _least(most, own) != most), None)


def take_over(key: ApiKey, *, replaced: ApiKey) -> None:
    """Give a successor the caps of the key it replaces."""
    daily, monthly = key_caps(key=replaced)
    KeyMeter.objects.filter(pk=key.pk).update(day_cap=daily, month_cap=monthly)


def _require_within(*, by: Actor, before: Caps, after: Caps) -> None:
    """Refuse a cap that is changed to more than the key that changes it has."""
    if not isinstance(by, KeyRecord):
        return
    own = _caps(key_id=by.id)
    for name, was, cap, most in zip(CAPS, before, after, own, strict=True):
        if cap != was and _least(cap, most) != cap:
            raise keybounds.beyond(name)


def _least(cap: int | None, most: int | None) -> int | None:
    return most if cap is None or (most is not None and most < cap) else cap


def workspace_caps(*, workspace: Workspace) -> tuple[int | None, int | None]:
    """Return a workspace's daily and monthly cap."""
    home = ledger.open_accounts(workspace_id=workspace.pk).usd_id
    return Account.objects.values_list("day_cap", "month_cap").get(pk=home)


def lock_workspace_caps(*, workspace: Workspace) -> Caps:
    """Return a workspace's caps, locked: for who changes one of them and keeps the other."""
    home = _lock_home(workspace)
    return home.day_cap, home.month_cap


def _lock_home(workspace: Workspace) -> Account:
    ledger.open_accounts(workspace_id=workspace.pk)
    return ledger.lock_homes(workspace_id=workspace.pk, assets=(ledger.USD,))[0]


def key_caps(*, key: ApiKey) -> tuple[int | None, int | None]:
    """Return a key's daily and monthly cap."""
    return _caps(key_id=key.pk)


def lock_key_caps(*, key: ApiKey) -> Caps:
    """Return a key's caps, locked: for who changes one of them and keeps the other."""
    ledger.open_meter(key_id=key.pk)
    meter = KeyMeter.objects.select_for_update(no_key=True).get(pk=key.pk)
    return meter.day_cap, meter.month_cap


def _caps(*, key_id: int) -> Caps:
    ledger.open_meter(key_id=key_id)
    return KeyMeter.objects.values_list("day_cap", "month_cap").get(pk=key_id)


@transaction.atomic
def apply_tier(*, workspace: Workspace) -> None:
    """
    Give a workspace its tier's default caps.

    Keys whose caps are a tier's default move along; caps that somebody chose stay.
    """
    tier = workspace.tier
    daily, monthly = tier.default_daily_nanos, tier.default_monthly_nanos
    home = _lock_home(workspace)
    Account.objects.filter(pk=home.pk).update(day_cap=daily, month_cap=monthly)
    defaults = set(Tier.objects.values_list("default_daily_nanos", "default_monthly_nanos"))
    meters = KeyMeter.objects.filter(key__workspaces=workspace).order_by("key_id")
    for meter in meters.select_for_update(no_key=True, of=("self",)):
        if (meter.day_cap, meter.month_cap) in defaults:
            KeyMeter.objects.filter(pk=meter.pk).update(day_cap=daily, month_cap=monthly)


def follow_tier(workspace: Workspace) -> None:
    """Apply the tier that a workspace was just moved to."""
    apply_tier(workspace=workspace)


def _check(*, tiers: list[Tier], daily: int | None, monthly: int | None) -> None:
    """Refuse more than the tiers allow; only an operator may go past them."""
    for tier in tiers:
        bounds = (tier.max_daily_nanos, tier.max_monthly_nanos)
        for name, cap, most in zip(CAPS, (daily, monthly), bounds, strict=True):
            if most is not None and (cap is None or cap > most):
                words = _(
                    "The tier %(tier)s allows at most %(most)s USD here."
                    " Ask the operator to raise it."
                )
                told = {"tier": tier.name, "most": grouped(money.usd(most))}
                raise AboveTier(words % told, param=name)


def _not_negative(*caps: int | None) -> None:
    if any(cap is not None and cap < 0 for cap in caps):
        raise ValueError("A cap is 0 or more; 0 allows nothing.")
