"""
People in the admin site, and the groups that give staff their rights.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin as StockGroupAdmin
from django.contrib.auth.admin import UserAdmin as StockUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, BaseUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from accounts import audit, signins, signup, staffreasons
from accounts.admin_impersonation import Impersonable
from accounts.adminrows import Kept, Ruled, staff
from accounts.models import User
from accounts.staffreasons import Reasoned, ReasonedForm, ReasonField, write_down


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


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[type-arg]
    """A password that staff sets for somebody."""

    reason = ReasonField()


@admin.register(User)
class UserAdmin(Ruled, Impersonable, Kept, StockUserAdmin):  # type: ignore[type-arg]
    """People. Rights in this site are given by superusers only."""

    form = UserForm
    add_form = NewUserForm
    change_password_form = PasswordForm
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
            before = self.get_object(request, unquote(id))
            answer = super().user_change_password(request, id, form_url)
            # An answer leads on as well where nothing was done, because two buttons disagree.
            user = self.get_object(request, unquote(id))
            if before is not None and user is not None and before.password != user.password:
                signins.by_staff(
                    "user.password_set" if user.has_usable_password() else "user.password_removed",
                    user=user,
                    by=staff(request),
                    reason=staffreasons.told(request),
                )
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


def group_facts(group: Group) -> dict[str, Any]:
    """What staff may change about a group."""
    rights = group.permissions.values_list("content_type__app_label", "codename")
    return {"name": group.name, "permissions": sorted(".".join(each) for each in rights)}


@admin.register(Group)
class GroupAdmin(Ruled, Reasoned, StockGroupAdmin):
    """Groups; those of staffgroups are as listed there again after each migration."""

    form = ReasonedForm
    filter_horizontal = ()

    def save_model(self, request: HttpRequest, obj: Group, form: Any, change: bool) -> None:
        """Store the name, and remember what was there."""
        form.instance_was = group_facts(Group.objects.get(pk=obj.pk)) if change else None
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Store the rights; what was changed is written down for staff."""
        super().save_related(request, form, formsets, change)
        self._write_down(
            request,
            form.instance,
            "group.changed" if change else "group.added",
            reason=form.cleaned_data["reason"],
            before=form.instance_was,
            after=group_facts(form.instance),
        )

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        """Remove one: its members have its rights no longer."""
        members = sorted(User.objects.filter(groups=obj).values_list("email", flat=True))
        before = {**group_facts(obj), "members": members}
        reason = staffreasons.told(request)
        nothing = dict.fromkeys(before)
        self._write_down(request, obj, "group.removed", reason=reason, before=before, after=nothing)
        super().delete_model(request, obj)

    def _write_down(self, request: HttpRequest, group: Group, action: str, **told: Any) -> None:
        target = audit.Target(f"group {group.pk}", group.name)
        write_down(action=action, by=staff(request), target=target, **told)
