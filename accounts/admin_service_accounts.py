"""
Service accounts in the admin site.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import audit, service_accounts, staffreasons
from accounts.adminrows import Kept, Ruled, say, staff
from accounts.models import ServiceAccount
from accounts.staffreasons import Reasoned, ReasonedForm, write_down


@admin.register(ServiceAccount)
class ServiceAccountAdmin(Ruled, Kept, Reasoned, admin.ModelAdmin):  # type: ignore[type-arg]
    """Users that are not people."""

    form = ReasonedForm
    list_display = ("name", "workspace", "role", "public_id", "disabled_at")
    list_filter = ("role",)
    list_select_related = ("workspace",)
    search_fields = ("name", "public_id", "workspace__name", "workspace__public_id")
    raw_id_fields = ("workspace",)
    fields = ("workspace", "name", "role")
    actions = ("disable", "enable")

    def get_readonly_fields(
        self, request: HttpRequest, obj: ServiceAccount | None = None
    ) -> tuple[str, ...]:
        """A service account never moves."""
        return ("workspace", "name") if obj else ()

    def save_model(
        self, request: HttpRequest, obj: ServiceAccount, form: Any, change: bool
    ) -> None:
        """Make one, or change its role."""
        if change:
            service_accounts.change_role(account=obj, role=obj.role, by=staff(request))
        else:
            made = service_accounts.create(
                workspace=obj.workspace, name=obj.name, role=obj.role, by=staff(request)
            )
            obj.pk, obj.public_id = made.pk, made.public_id
        action = "service_account.role_changed" if change else "service_account.created"
        self._write_down(request, action, obj, form.cleaned_data["reason"])

    @admin.action(description="Disable", permissions=["change"])
    @transaction.atomic
    def disable(self, request: HttpRequest, queryset: QuerySet[ServiceAccount]) -> None:
        """Refuse their keys from the next request on."""
        reason = staffreasons.told(request)
        chosen = list(queryset.select_related("workspace"))
        for account in chosen:
            service_accounts.disable(account=account, by=staff(request))
            self._write_down(request, "service_account.disabled", account, reason)
        say(request, "Disabled", [account.name for account in chosen])

    @admin.action(description="Enable", permissions=["change"])
    @transaction.atomic
    def enable(self, request: HttpRequest, queryset: QuerySet[ServiceAccount]) -> None:
        """Let their keys work again."""
        reason = staffreasons.told(request)
        chosen = list(queryset.select_related("workspace"))
        for account in chosen:
            service_accounts.enable(account=account, by=staff(request))
            self._write_down(request, "service_account.enabled", account, reason)
        say(request, "Enabled", [account.name for account in chosen])

    def _write_down(
        self, request: HttpRequest, action: str, account: ServiceAccount, reason: str
    ) -> None:
        write_down(
            action=action,
            by=staff(request),
            target=audit.Target(account.public_id, account.name),
            reason=reason,
            after={"workspace": account.workspace.public_id, "role": str(account.role)},
        )
