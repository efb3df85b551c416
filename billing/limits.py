"""Spending caps of workspaces and keys, in nano-dollars per UTC day and month; None = no cap."""

from __future__ import annotations

from django.db import transaction

from accounts.models import ApiKey, Tier, Workspace
from billing import ledger
from billing.models import Account, KeyMeter


class AboveTier(ValueError):
    """The tier of a workspace does not allow a cap this high."""


def set_workspace_caps(
    *, workspace: Workspace, daily: int | None, monthly: int | None, past_tier: bool = False
) -> None:
    """
    Set what a workspace may spend; it may be less than what is spent already.

    :raises AboveTier: more than the tier allows, and not set by an operator
    :raises ValueError: negative
    """
    _check(tiers=[workspace.tier], daily=daily, monthly=monthly, past_tier=past_tier)
    home = ledger.open_accounts(workspace_id=workspace.pk).usd_id
    Account.objects.filter(pk=home).update(day_cap=daily, month_cap=monthly)


def set_key_caps(
    *, key: ApiKey, daily: int | None, monthly: int | None, past_tier: bool = False
) -> None:
    """
    Set what a key may spend, in all its workspaces together; their own caps hold as well.

    :raises AboveTier: more than a tier of its workspaces allows, and not set by an operator
    :raises ValueError: negative
    """
    tiers = Tier.objects.filter(workspaces__api_keys=key)
    _check(tiers=list(tiers), daily=daily, monthly=monthly, past_tier=past_tier, unlimited_ok=True)
    ledger.open_meter(key_id=key.pk)
    KeyMeter.objects.filter(pk=key.pk).update(day_cap=daily, month_cap=monthly)


def workspace_caps(*, workspace: Workspace) -> tuple[int | None, int | None]:
    """Return a workspace's daily and monthly cap."""
    home = ledger.open_accounts(workspace_id=workspace.pk).usd_id
    return Account.objects.values_list("day_cap", "month_cap").get(pk=home)


def key_caps(*, key: ApiKey) -> tuple[int | None, int | None]:
    """Return a key's daily and monthly cap."""
    ledger.open_meter(key_id=key.pk)
    return KeyMeter.objects.values_list("day_cap", "month_cap").get(pk=key.pk)


@transaction.atomic
def apply_tier(*, workspace: Workspace, previous: Tier | None = None) -> None:
    """
    Give a workspace its tier's default caps.

    Keys whose caps are still the previous tier's default move along; others were chosen.
    """
    tier = workspace.tier
    daily, monthly = tier.default_daily_nanos, tier.default_monthly_nanos
    ledger.open_accounts(workspace_id=workspace.pk)
    home = ledger.lock_homes(workspace_id=workspace.pk, assets=(ledger.USD,))[0]
    Account.objects.filter(pk=home.pk).update(day_cap=daily, month_cap=monthly)
    if previous is None:
        return
    meters = KeyMeter.objects.filter(
        key__workspaces=workspace,
        day_cap=previous.default_daily_nanos,
        month_cap=previous.default_monthly_nanos,
    ).order_by("key_id")
    for meter in meters.select_for_update(no_key=True, of=("self",)):
        KeyMeter.objects.filter(pk=meter.pk).update(day_cap=daily, month_cap=monthly)


def _check(
    *,
    tiers: list[Tier],
    daily: int | None,
    monthly: int | None,
    past_tier: bool,
    unlimited_ok: bool = False,
) -> None:
    if (daily is not None and daily < 0) or (monthly is not None and monthly < 0):
        raise ValueError("A cap is 0 or more; 0 allows nothing.")
    if past_tier:
        return
    for cap, most in [
        (cap, most)
        for tier in tiers
        for cap, most in ((daily, tier.max_daily_nanos), (monthly, tier.max_monthly_nanos))
    ]:
        # A key without a cap of its own is still bounded by its workspace's.
        above = not unlimited_ok if cap is None else most is not None and cap > most
        if above and most is not None:
            raise AboveTier("Your tier does not allow a cap this high; ask us to raise it.")
