"""
The staff's view of people, workspaces and keys.

Changes go through the functions that customers' changes go through, so the same rules hold; who
makes one says why.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from django.contrib import admin

from accounts import (
    admin_approvals,
    admin_impersonation,
    admin_keys,
    admin_people,
    admin_service_accounts,
    admin_signins,
    admin_webhooks,
    admin_workspaces,
)
from accounts.adminrows import ReadOnly
from accounts.models import AuditEvent, Consent, Invitation, KeptAnswer, SecretFingerprint

# Django looks for modules of this name only: it brings the others along.
__all__ = [
    "admin_approvals",
    "admin_impersonation",
    "admin_keys",
    "admin_people",
    "admin_service_accounts",
    "admin_signins",
    "admin_webhooks",
    "admin_workspaces",
]


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Who changed what, everywhere."""

    list_display = (
        "at",
        "action",
        "target",
        "target_name",
        "actor",
        "user",
        "impersonator",
        "workspace",
    )
    list_filter = ("actor", "action")
    list_select_related = ("user", "impersonator", "workspace")
    search_fields = ("=target", "=request_id", "=workspace__public_id", "=user__email")
    show_full_result_count = False


@admin.register(Invitation)
class InvitationAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Who was invited; never the link."""

    list_display = ("email", "workspace", "role", "created_at", "accepted_at", "revoked_at")
    list_select_related = ("workspace",)
    search_fields = ("=email", "=workspace__public_id")
    exclude = ("digest",)


@admin.register(KeptAnswer)
class KeptAnswerAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Requests that are answered again when they are sent again; never the answer."""

    list_display = ("endpoint", "caller", "status", "created_at", "expires_at")
    exclude = ("digest", "fingerprint", "sealed")


@admin.register(SecretFingerprint)
class SecretFingerprintAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Which pepper the database was made with, by its id."""

    list_display = ("pepper_id", "recorded_at")
    exclude = ("fingerprint",)


@admin.register(Consent)
class ConsentAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Who agreed to which version of which text."""

    list_display = ("user", "document", "digest", "at")
    list_select_related = ("user",)
    search_fields = ("=user__email", "=digest")
