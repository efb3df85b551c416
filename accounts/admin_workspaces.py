"""
Workspaces and who belongs to them, in the admin site.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts import audit, members, staffreasons, workspaces
from accounts.adminrows import Kept, ReadOnly, Ruled, say, staff
from accounts.models import Membership, Workspace
from accounts.staffreasons import Reasoned, ReasonedForm, write_down


class MembershipInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    """The members on a workspace's page."""

    model = Membership
    fields = ("user", "role", "created_at")
    readonly_fields = fields
    extra = 0


def _plain(value: Any) -> str | None:
    return None if value is None else str(value)


@admin.register(Workspace)
class WorkspaceAdmin(Ruled, Kept, Reasoned, admin.ModelAdmin):  # type: ignore[type-arg]
    """Workspaces, made by people or by the create_workspace command."""

    form = ReasonedForm
    list_display = ("name", "public_id", "external_id", "tier", "created_at", "closed_at")
    list_filter = ("tier",)
    list_select_related = ("tier",)
    search_fields = ("name", "public_id", "external_id")
    fields = ("public_id", "name", "external_id", "tier", "personal_of", "created_at", "closed_at")
    readonly_fields = ("public_id", "personal_of", "created_at", "closed_at")
    inlines = (MembershipInline,)
    actions = ("close",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: a workspace needs an owner, which the command asks for."""
        return False

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Workspace, form: Any, change: bool) -> None:
        """Change each thing the way that tells the customer; write the reason down for staff."""
        asked = {name: getattr(obj, name) for name in form.changed_data if name != "reason"}
        stored = Workspace.objects.select_for_update(no_key=True).get(pk=obj.pk)
        before = {name: _plain(getattr(stored, name)) for name in asked}
        if "external_id" in asked:
            stored.external_id = asked["external_id"]
            stored.save(update_fields=["external_id"])
        if "name" in asked:
            workspaces.rename(workspace=stored, name=asked["name"], by=staff(request))
        if "tier" in asked:
            workspaces.move_to_tier(workspace=stored, tier=asked["tier"], by=staff(request))
        after = {name: _plain(value) for name, value in asked.items()}
        if asked:
            write_down(
                action="workspace.changed",
                by=staff(request),
                target=workspaces.target(stored),
                reason=form.cleaned_data["reason"],
                before=before,
                after=after,
            )

    @admin.action(description="Close for good", permissions=["change"])
    @transaction.atomic
    def close(self, request: HttpRequest, queryset: QuerySet[Workspace]) -> None:
        """Refuse all their keys from now on."""
        reason = staffreasons.told(request)
        chosen = list(queryset)
        for workspace in chosen:
            workspaces.close(workspace=workspace, by=staff(request))
            write_down(
                action="workspace.closed",
                by=staff(request),
                target=workspaces.target(workspace),
                reason=reason,
            )
        say(request, "Closed", [workspaces.whom(workspace) for workspace in chosen])


@admin.register(Membership)
class MembershipAdmin(Ruled, Reasoned, admin.ModelAdmin):  # type: ignore[type-arg]
    """Who belongs where. A workspace keeps an owner here too."""

    form = ReasonedForm
    list_display = ("user", "workspace", "role", "created_at")
    list_filter = ("role",)
    list_select_related = ("user", "workspace")
    search_fields = ("user__email", "workspace__name", "workspace__public_id")
    raw_id_fields = ("user", "workspace")
    fields = ("workspace", "user", "role")

    def get_readonly_fields(
        self, request: HttpRequest, obj: Membership | None = None
    ) -> tuple[str, ...]:
        """A membership never moves."""
        return ("workspace", "user") if obj else ()

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        """Add a member, or change the role."""
        if change:
            members.change_role(membership=obj, role=obj.role, by=staff(request))
        else:
            made = members.add(
                workspace=obj.workspace, user=obj.user, role=obj.role, by=staff(request)
            )
            obj.pk, obj.public_id = made.pk, made.public_id
        action = "member.role_changed" if change else "member.added"
        self._write_down(request, action, obj, form.cleaned_data["reason"])

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        """End one membership."""
        members.remove(membership=obj, by=staff(request))
        self._write_down(request, "member.removed", obj, staffreasons.told(request))

    def _write_down(
        self, request: HttpRequest, action: str, membership: Membership, reason: str
    ) -> None:
        write_down(
            action=action,
            by=staff(request),
            target=audit.Target(membership.public_id, membership.user.email),
            reason=reason,
            after={"workspace": membership.workspace.public_id, "role": str(membership.role)},
        )
