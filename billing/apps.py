"""The billing app."""

from __future__ import annotations

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """The ledger, its SQL functions, prices, caps, grants and usage records."""

    name = "billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the sign-up grant with sign-up, which knows nothing of money."""
        from accounts import signup
        from billing import grants

        if grants.welcome not in signup.on_verified:
            signup.on_verified.append(grants.welcome)
