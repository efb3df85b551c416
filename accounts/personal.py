"""What is kept about a person, for that person: everything that names them."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db.models import Q

from accounts.models import (
    ApiKey,
    AuditEvent,
    Consent,
    Impersonation,
    Invitation,
    Membership,
    ServiceAccount,
    User,
    WebhookEndpoint,
)

MOST_EVENTS = 10_000


def record(*, user: User) -> dict[str, Any]:
    """Everything as JSON can hold it. Usage and money belong to workspaces: exports have them."""
    return {"user": _user(user)} | _signing_in(user) | _belongings(user) | _acts(user)


def _user(user: User) -> dict[str, Any]:
    return {
        "id": user.public_id,
        "email": user.email,
        "name": user.name,
        "language": user.language,
        "time_zone": user.time_zone,
        "joined": user.date_joined,
        "last_sign_in": user.last_login,
    }


def _signing_in(user: User) -> dict[str, Any]:
    return {
        "email_addresses": list(
            EmailAddress.objects.filter(user=user).values("email", "verified", "primary")
        ),
        "second_factors": list(
            Authenticator.objects.filter(user=user).values("type", "created_at", "last_used_at")
        ),
        "sessions": list(
            UserSession.objects.filter(user=user).values("created_at", "ip", "user_agent")
        ),
    }


def _belongings(user: User) -> dict[str, Any]:
    return {
        "memberships": list(
            Membership.objects.filter(user=user).values(
                "workspace__public_id", "workspace__name", "role", "created_at"
            )
        ),
        "keys": list(
            ApiKey.objects.filter(user=user).values(
                "public_id", "name", "ips", "created_at", "expires_at", "deleted_at"
            )
        ),
        "invitations": list(
            Invitation.objects.filter(Q(email=user.email) | Q(accepted_by=user)).values(
                "workspace__public_id", "email", "role", "created_at", "accepted_at"
            )
        ),
        "webhooks": list(
            WebhookEndpoint.objects.filter(workspace__personal_of=user).values(
                "public_id", "url", "events", "created_at"
            )
        ),
        "service_accounts": list(
            ServiceAccount.objects.filter(workspace__personal_of=user).values(
                "public_id", "name", "created_at"
            )
        ),
    }


def _acts(user: User) -> dict[str, Any]:
    return {
        "looked_at_by_support": list(
            Impersonation.objects.filter(customer=user).values("started_at", "ended_at")
        ),
        "consents": list(
            Consent.objects.filter(user=user).values("document", "digest", "at", "address")
        ),
        "changes": list(
            AuditEvent.objects.filter(user=user)
            .order_by("-pk")
            .values("at", "action", "target", "address")[:MOST_EVENTS]
        ),
    }
