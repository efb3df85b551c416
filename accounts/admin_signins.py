"""
How people sign in, in the admin site: second factors, addresses, sessions.

The pages that libraries bring would show what they keep; these show who and when, no secret.

Ignored type-arg: these classes are generic in the stubs only.
"""

from __future__ import annotations

from allauth.account.models import EmailAddress
from allauth.mfa.base.internal.flows import delete_dangling_recovery_codes
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest

from accounts import signins, staffreasons
from accounts.adminrows import Looked, Ruled, staff
from accounts.staffreasons import Reasoned


@admin.register(Authenticator)
class AuthenticatorAdmin(Ruled, Reasoned, Looked):
    """Who has which second factor; never what it is. Superusers remove lost ones."""

    delete_confirmation_template = "admin/mfa/authenticator/delete_confirmation.html"
    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    list_select_related = ("user",)
    search_fields = ("=user__email",)
    fields = ("user", "type", "created_at", "last_used_at")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Superusers only: whoever lost a phone proves to one of them who they are."""
        return bool(getattr(request.user, "is_superuser", False))

    def delete_model(self, request: HttpRequest, obj: Authenticator) -> None:
        """Remove it, and recovery codes that are left alone; written down for its owner."""
        with transaction.atomic():
            obj.delete()
            delete_dangling_recovery_codes(obj.user)
            signins.by_staff(
                "user.second_factor_removed",
                user=obj.user,
                by=staff(request),
                reason=staffreasons.told(request),
                type=obj.type,
            )


@admin.register(EmailAddress)
class EmailAddressAdmin(Looked):
    """Addresses, and whether they are proved."""

    list_display = ("email", "user", "primary", "verified")
    list_filter = ("verified",)
    list_select_related = ("user",)
    search_fields = ("=email",)


@admin.register(UserSession)
class UserSessionAdmin(Looked):
    """Who is signed in from where; never by which key of a session."""

    list_display = ("user", "created_at", "last_seen_at", "ip", "user_agent")
    list_select_related = ("user",)
    search_fields = ("=user__email", "=ip")
    fields = ("user", "created_at", "last_seen_at", "ip", "user_agent")
