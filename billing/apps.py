"""The billing app."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from django.apps import AppConfig

if TYPE_CHECKING:
    from accounts.models import ApiKey, Workspace

T = TypeVar("T")


class BillingConfig(AppConfig):
    """The ledger, its SQL functions, prices, caps, grants and usage records."""

    name = "billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Add what money needs to the events of accounts, which knows nothing of money."""
        from accounts import keys, signup, workspaces
        from billing import grants, limits

        _once(workspaces.on_created, open_accounts)
        _once(workspaces.on_tier_changed, limits.follow_tier)
        _once(keys.on_created, open_meter)
        _once(signup.on_verified, grants.welcome)


def _once(steps: list[Callable[[T], None]], step: Callable[[T], None]) -> None:
    if step not in steps:
        steps.append(step)


def open_accounts(workspace: Workspace) -> None:
    """Open a new workspace's accounts."""
    from billing import ledger

    ledger.open_accounts(workspace_id=workspace.pk)


def open_meter(key: ApiKey) -> None:
    """Open a new key's meter."""
    from billing import ledger

    ledger.open_meter(key_id=key.pk)
