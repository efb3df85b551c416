"""Spending caps of workspaces and keys, in nano-dollars per UTC day and month; None = no cap."""

from __future__ import annotations

from django.db import transaction

from accounts.models import ApiKey, Tier, Workspace
from billing import ledger
from billing.models import Account, KeyMeter
from common import money
from common.errors import ApiError


class AboveTier(ApiError):
    """The tier of a workspace does not allow a cap this high."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_parameter", message)


def set_workspace_caps(
    *, workspace: Workspace, daily: int | None, monthly: int | None, past_tier: bool = False
) -> None:
    """
    Set what a workspace may spend; it may be less than what is spent already.

    :raises AboveTier: more than the tier allows, and not set by an operator
    :raises ValueError: negative
    """
    _not_negative(daily, monthly)
    if not past_tier:
        _check(tiers=[workspace.tier], daily=daily, monthly=monthly)
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
    _not_negative(daily, monthly)
    if not past_tier:
        # A key without a cap of its own is still bounded by its workspace's: 0 stands for it.
        tiers = list(Tier.objects.filter(workspaces__api_keys=key))
        _check(tiers=tiers, daily=daily or 0, monthly=monthly or 0)
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
def apply_tier(*, workspace: Workspace) -> None:
    """
    Give a workspace its tier's default caps.

    Keys whose caps are a tier's default move along; caps that somebody chose stay.
    """
    tier = workspace.tier
    daily, monthly = tier.default_daily_nanos, tier.default_monthly_nanos
    ledger.open_accounts(workspace_id=workspace.pk)
    home = ledger.lock_homes(workspace_id=workspace.pk, assets=(ledger.USD,))[0]
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
        for cap, most in ((daily, tier.max_daily_nanos), (monthly, tier.max_monthly_nanos)):
            if most is not None and (cap is None or cap > most):
                raise AboveTier(
                    f"The tier {tier.name} allows at most {money.usd(most)} USD here."
                    " Ask the operator to raise it."
                )


def _not_negative(*caps: int | None) -> None:
    if any(cap is not None and cap < 0 for cap in caps):
        raise ValueError("A cap is 0 or more; 0 allows nothing.")
