"""The billing app."""

from __future__ import annotations

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """The ledger, its SQL functions, prices, caps, grants and usage records."""

    name = "billing"
    default_auto_field = "django.db.models.BigAutoField"
