"""
The staff's view of people, workspaces and keys.

Changes go through the functions that customers' changes go through, so the same rules hold; who
makes one says why. A key's digest is never shown, and a key can only be looked at and disabled.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as StockGroupAdmin
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from accounts import (
    audit,
    keys,
    keystore,
    members,
    service_accounts,
    signins,
    signup,
    staffreasons,
    workspaces,
)
from accounts.actors import Staff
from accounts.errors import Refused
from accounts.models import (
    ApiKey,
    ApiKeyWorkspace,
    AuditEvent,
    Consent,
    Invitation,
    KeptAnswer,
    Membership,
    SecretFingerprint,
    ServiceAccount,
    User,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    Workspace,
)
from accounts.staffadmin import Impersonable
from accounts.staffreasons import Reasoned, ReasonedForm, ReasonField, write_down


class Ruled:
    """Tells a refusal by our own rules to the staff instead of failing."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Add or change one row."""
        return told(request, lambda: super(Ruled, self).changeform_view(request, *args, **kwargs))  # type: ignore[misc]  # a mixin

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Delete one row."""
        return told(request, lambda: super(Ruled, self).delete_view(request, *args, **kwargs))  # type: ignore[misc]  # a mixin

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """List rows, or act on several."""
        return told(request, lambda: super(Ruled, self).changelist_view(request, *args, **kwargs))  # type: ignore[misc]  # a mixin


def told(request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
    """The view's answer, or the same page with the reason why not."""
    try:
        return view()
    except Refused as error:
        messages.error(request, error.message)
        return HttpResponseRedirect(request.get_full_path())


def staff(request: HttpRequest) -> Staff:
    """Whoever works in this site, as the audit log names them."""
    return Staff(cast("User", request.user))


class Kept:
    """Rows that others point at: they are closed or disabled, never deleted."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False


class ReadOnly(Kept):
    """Rows that staff look at and nobody edits by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False


def person_facts(user: User) -> dict[str, Any]:
    """What staff may change about a person."""
    names = ("name", "language", "time_zone", "is_active", "is_staff", "is_superuser")
    groups = sorted(user.groups.values_list("name", flat=True))
    return {**audit.facts(user, *names), "groups": groups}


class NewUserForm(BaseUserCreationForm):  # type: ignore[type-arg]
    """A person by address and password."""

    reason = ReasonField()

    class Meta:
        model = User
        fields = ("email",)

    def clean_email(self) -> str:
        """The address in the one form that we store."""
        return str(self.cleaned_data["email"]).strip().lower()


class UserForm(UserChangeForm):  # type: ignore[type-arg]
    """What staff may change on a person."""

    reason = ReasonField()

    class Meta:
        model = User
        fields = "__all__"


@admin.register(User)
class UserAdmin(Ruled, Impersonable, Kept, StockUserAdmin):  # type: ignore[type-arg]
    """People. Rights in this site are given by superusers only."""

    form = UserForm
    add_form = NewUserForm
    ordering = ("-date_joined",)
    list_display = ("email", "name", "public_id", "is_active", "is_staff", "date_joined")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("email", "name", "public_id")
    readonly_fields = ("public_id", "last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("public_id", "email")}),
        ("Person", {"fields": ("name", "language", "time_zone")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "password1", "password2", "reason")}),)
    # The stock widget of two lists cannot be read out; there are few groups.
    filter_horizontal = ()

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Ask why at the end, whoever may change something."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or not self.has_change_permission(request, obj):
            return fieldsets
        return (*fieldsets, ("Why", {"fields": ("reason",)}))

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """The address is changed by its person, rights by superusers."""
        fixed = (*self.readonly_fields, "email") if obj else tuple(self.readonly_fields)
        if getattr(request.user, "is_superuser", False):
            return fixed
        return (*fixed, "is_staff", "is_superuser", "groups")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Whoever works here is changed by superusers: nobody rises by another's account."""
        mine = super().has_change_permission(request, obj)
        is_root = bool(getattr(request.user, "is_superuser", False))
        return mine and (is_root or obj is None or not (obj.is_staff or obj.is_superuser))

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        """Passwords are set by their owners; superusers help where there is no other way."""
        if not getattr(request.user, "is_superuser", False):
            raise PermissionDenied
        with transaction.atomic():
            answer = super().user_change_password(request, id, form_url)
            if answer.status_code == HTTPStatus.FOUND:
                user = User.objects.get(pk=id)
                signins.record("user.password_set", user=user, by=staff(request))
        return answer

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Store, and give a new person what sign-up gives."""
        form.instance_was = person_facts(User.objects.get(pk=obj.pk)) if change else None
        super().save_model(request, obj, form, change)
        if not change:
            signup.adopt(user=obj, verified=False)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Store the groups; what was changed, rights among it, is written down for staff."""
        super().save_related(request, form, formsets, change)
        user: User = form.instance
        write_down(
            action="user.changed" if change else "user.added",
            by=staff(request),
            target=audit.Target(user.public_id, user.email),
            reason=form.cleaned_data["reason"],
            before=form.instance_was,
            after=person_facts(user),
        )


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(StockGroupAdmin):
    """Groups; those of staffgroups are as listed there again after each migration."""

    filter_horizontal = ()


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
        for workspace in queryset:
            workspaces.close(workspace=workspace, by=staff(request))
            write_down(
                action="workspace.closed",
                by=staff(request),
                target=workspaces.target(workspace),
                reason=reason,
            )


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
        for account in queryset.select_related("workspace"):
            service_accounts.disable(account=account, by=staff(request))
            self._write_down(request, "service_account.disabled", account, reason)

    @admin.action(description="Enable", permissions=["change"])
    @transaction.atomic
    def enable(self, request: HttpRequest, queryset: QuerySet[ServiceAccount]) -> None:
        """Let their keys work again."""
        reason = staffreasons.told(request)
        for account in queryset.select_related("workspace"):
            service_accounts.enable(account=account, by=staff(request))
            self._write_down(request, "service_account.enabled", account, reason)

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


class ApiKeyWorkspaceInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    """The workspaces on a key's page."""

    model = ApiKeyWorkspace
    extra = 0


@admin.register(ApiKey)
class ApiKeyAdmin(Ruled, ReadOnly, Reasoned, admin.ModelAdmin):  # type: ignore[type-arg]
    """Keys, to be looked at and stopped."""

    list_display = (
        "name",
        "hint",
        "public_id",
        "kind",
        "user",
        "service_account",
        "expires_at",
        "disabled_at",
        "deleted_at",
    )
    list_filter = ("kind",)
    list_select_related = ("user", "service_account")
    search_fields = ("public_id", "name", "last4", "user__email", "service_account__name")
    exclude = ("digest", "pepper_id")
    inlines = (ApiKeyWorkspaceInline,)
    actions = ("disable",)

    def has_disable_permission(self, request: HttpRequest) -> bool:
        """Staff who may change keys may stop them."""
        user = request.user
        return bool(user.is_active and user.has_perm("accounts.change_apikey"))

    @admin.action(description="Disable", permissions=["disable"])
    @transaction.atomic
    def disable(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Refuse them from the next request on."""
        reason = staffreasons.told(request)
        for key in queryset.filter(deleted_at=None):
            keys.disable(key=key, by=staff(request))
            write_down(
                action="key.disabled",
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


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Where customers are told what happens; never what signs."""

    list_display = ("public_id", "workspace", "url", "disabled_at", "stopped", "failing_since")
    list_select_related = ("workspace",)
    search_fields = ("=public_id", "=workspace__public_id")
    exclude = ("sealed", "sealed_key_id", "old_sealed", "old_sealed_key_id")


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """What happened and is told to webhooks."""

    list_display = ("public_id", "kind", "workspace", "created_at")
    list_filter = ("kind",)
    list_select_related = ("workspace",)
    search_fields = ("=public_id", "=workspace__public_id")
    show_full_result_count = False


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """How each event came to each webhook."""

    list_display = ("public_id", "event", "endpoint", "status", "attempts", "code", "next_at")
    list_filter = ("status",)
    list_select_related = ("event", "endpoint")
    search_fields = ("=public_id", "=event__public_id", "=endpoint__public_id")
    show_full_result_count = False
