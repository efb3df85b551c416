"""What a key may do, what a role may do, and what is left when both are asked."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from django.utils.translation import gettext as _


class Scope(StrEnum):
    """One right that a key can carry."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    IMAGES = "images"
    MODELS_READ = "models:read"
    USAGE_READ = "usage:read"
    KEYS_READ = "keys:read"
    KEYS_MANAGE = "keys:manage"
    BILLING_READ = "billing:read"
    BILLING_MANAGE = "billing:manage"
    MEMBERS_MANAGE = "members:manage"
    WEBHOOKS_MANAGE = "webhooks:manage"
    AUDIT_READ = "audit:read"


class Role(StrEnum):
    """What a person or a service account is in one workspace."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    BILLING = "billing"
    VIEWER = "viewer"


ALL: Final = frozenset(Scope)
INFERENCE: Final = frozenset({Scope.CHAT, Scope.EMBEDDINGS, Scope.IMAGES})
EITHER: Final = frozenset({Scope.MODELS_READ, Scope.USAGE_READ, Scope.BILLING_READ})
MANAGEMENT: Final = ALL - INFERENCE - EITHER

# Admins differ from owners outside the scopes: only an owner appoints owners or closes the place.
ROLE_SCOPES: Final[dict[Role, frozenset[Scope]]] = {
    Role.OWNER: ALL,
    Role.ADMIN: ALL,
    Role.DEVELOPER: INFERENCE | EITHER | {Scope.KEYS_READ},
    Role.BILLING: EITHER | {Scope.BILLING_MANAGE},
    Role.VIEWER: EITHER | {Scope.KEYS_READ},
}

# A service account outlives the people who made it, so it never owns a workspace.
SERVICE_ROLES: Final = tuple(role for role in Role if role is not Role.OWNER)


class ScopeError(ValueError):
    """A set of scopes that no key may carry."""


def of_role(role: str) -> frozenset[Scope]:
    """Every scope that a role can grant.

    :raises ScopeError: the role does not exist
    """
    try:
        return ROLE_SCOPES[Role(role)]
    except ValueError:
        raise ScopeError(
            _("Unknown role %(role)r; use one of %(roles)s.")
            % {"role": role, "roles": ", ".join(Role)}
        ) from None


def effective(scopes: Iterable[str], role: str) -> frozenset[Scope]:
    """The scopes of a key that its owner's role in a workspace still allows.

    :raises ScopeError: the role does not exist
    """
    carried = frozenset(scopes)
    return frozenset(scope for scope in of_role(role) if scope in carried)


def check(scopes: Iterable[str]) -> frozenset[Scope]:
    """The scopes of one key, proved to exist and to be allowed together.

    :raises ScopeError: none at all, an unknown one, or inference mixed with management
    """
    asked = frozenset(scopes)
    unknown = sorted(asked - ALL)
    if unknown:
        raise ScopeError(
            _("Unknown scope %(scope)r; use %(scopes)s.")
            % {"scope": unknown[0], "scopes": ", ".join(Scope)}
        )
    if not asked:
        raise ScopeError(_("A key needs at least one scope."))
    if asked & INFERENCE and asked & MANAGEMENT:
        raise ScopeError(_("A key carries inference scopes or management scopes, never both."))
    return frozenset(Scope(scope) for scope in asked)
