"""
Keys in the admin site: looked at, disabled and enabled, their digests never shown.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import keys, keystore, staffreasons
from accounts.adminrows import ReadOnly, Ruled, say, staff
from accounts.models import ApiKey, ApiKeyWorkspace
from accounts.staffreasons import Reasoned, write_down


class ApiKeyWorkspaceInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    """The workspaces on a key's page."""

    model = ApiKeyWorkspace
    extra = 0


@admin.register(ApiKey)
class ApiKeyAdmin(Ruled, ReadOnly, Reasoned, admin.ModelAdmin):  # type: ignore[type-arg]
    """Keys, to be looked at, stopped and let work again."""

    list_display = (
        "name",
        "hint",
        "public_id",
        "kind",
        "user",
        "service_account",
        "expires_at",
        "disabled_at",
        "disabled_by_staff",
        "deleted_at",
    )
    list_filter = ("kind",)
    list_select_related = ("user", "service_account")
    search_fields = ("public_id", "name", "last4", "user__email", "service_account__name")
    exclude = ("digest", "pepper_id")
    inlines = (ApiKeyWorkspaceInline,)
    actions = ("disable", "enable")

    def has_disable_permission(self, request: HttpRequest) -> bool:
        """Staff who may change keys may stop them, and let them work again."""
        user = request.user
        return bool(user.is_active and user.has_perm("accounts.change_apikey"))

    @admin.action(description="Disable", permissions=["disable"])
    @transaction.atomic
    def disable(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Refuse them from the next request on."""
        chosen = list(queryset.filter(deleted_at=None))
        self._each(request, chosen, keys.disable, "key.disabled")
        say(request, "Disabled", [f"{key.name} ({key.hint})" for key in chosen])

    @admin.action(description="Enable", permissions=["disable"])
    @transaction.atomic
    def enable(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Let those work again that staff disabled; what customers disabled is theirs."""
        chosen = list(queryset.filter(deleted_at=None, disabled_by_staff=True))
        self._each(request, chosen, keys.enable, "key.enabled")
        say(request, "Enabled", [f"{key.name} ({key.hint})" for key in chosen])

    def _each(
        self,
        request: HttpRequest,
        chosen: Sequence[ApiKey],
        act: Callable[..., object],
        action: str,
    ) -> None:
        reason = staffreasons.told(request)
        for key in chosen:
            act(key=key, by=staff(request))
            write_down(
                action=action,
                by=staff(request),
                target=keystore.target(key=key),
                reason=reason,
            )


@admin.register(ApiKeyWorkspace)
class ApiKeyWorkspaceAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Which key may spend where."""

    list_display = ("key", "workspace")
    list_select_related = ("key", "workspace")
    search_fields = ("key__public_id", "workspace__public_id")
