"""The billing app."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from django.apps import AppConfig

if TYPE_CHECKING:
    from accounts.models import ApiKey, Workspace
    from billing.models import Alert

Step = TypeVar("Step", bound=Callable[..., Any])


class BillingConfig(AppConfig):
    """The ledger, its SQL functions, prices, caps, grants and usage records."""

    name = "billing"
    verbose_name = "Money"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Add what money needs to the events of accounts, which knows nothing of money."""
        from accounts import keybounds, keystore, signup, workspaces
        from accounts.erasure import on_erased
        from billing import alerts, erasure, grants, limits, orders, suspense
        from billing.chains import wallets

        _once(workspaces.on_created, open_accounts)
        _once(workspaces.on_tier_changed, limits.follow_tier)
        _once(keystore.on_created, open_meter)
        _once(keybounds.on_handed, limits.hand_on)
        _once(keybounds.on_person, limits.narrower)
        _once(signup.on_verified, grants.welcome)
        _once(alerts.on_raised, tell_webhooks)
        _once(on_erased, erasure.forget)
        orders.register()
        suspense.register()
        wallets.register()


def _once(steps: list[Step], step: Step) -> None:
    if step not in steps:
        steps.append(step)


def open_accounts(workspace: Workspace) -> None:
    """Open a new workspace's accounts."""
    from billing import ledger

    ledger.open_accounts(workspace_id=workspace.pk)


def open_meter(key: ApiKey) -> None:
    """Open a new key's meter; a successor has the caps of the key it replaces."""
    from billing import ledger, limits

    ledger.open_meter(key_id=key.pk)
    if key.replaces is not None:
        limits.take_over(key, replaced=key.replaces)


def tell_webhooks(alert: Alert) -> None:
    """Tell the webhooks of a workspace what its people are told."""
    from billing import notices

    notices.tell_webhooks(alert)
