"""
What groups of staff may do. The groups are made by ``migrate``, each time, from this list.

Superusers may do everything. Who is in which group is set in the admin site.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Q

APPS: Final = ("accounts", "billing", "proxy")
SUPPORT: Final = frozenset(
    {
        "accounts.change_user",
        "accounts.change_workspace",
        "accounts.change_apikey",
        "accounts.freeze_workspace",
        "accounts.set_limits",
        "accounts.impersonate",
        "account.view_emailaddress",
        "mfa.view_authenticator",
        "usersessions.view_usersession",
    }
)
BILLING: Final = frozenset(
    {
        "accounts.move_money",
        "accounts.decide_approval",
        "accounts.freeze_workspace",
        "accounts.set_limits",
        "accounts.resolve_calls",
        "accounts.change_tier",
        "billing.change_alert",
        "billing.add_tokenpackage",
        "billing.change_tokenpackage",
    }
)
CATALOGUE: Final = frozenset(
    {
        "proxy.add_provider",
        "proxy.change_provider",
        "proxy.add_model",
        "proxy.change_model",
        "proxy.add_modelalias",
        "proxy.change_modelalias",
        "proxy.delete_modelalias",
        "proxy.add_route",
        "proxy.change_route",
        "proxy.add_incident",
        "proxy.change_incident",
    }
)
# Everybody in a group may look at everything; secrets are shown to nobody.
GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "viewer": frozenset(),
    "support": SUPPORT,
    "billing": BILLING,
    "catalogue": CATALOGUE,
}


@transaction.atomic
def sync() -> list[str]:
    """Make the groups as they are listed here; return their names.

    :raises LookupError: a permission that does not exist
    """
    viewing = Q(content_type__app_label__in=APPS, codename__startswith="view_")
    looks = list(Permission.objects.filter(viewing))
    for name, rights in GROUPS.items():
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.set([*looks, *(_permission(right) for right in sorted(rights))])
    return list(GROUPS)


def _permission(right: str) -> Permission:
    app, _, codename = right.partition(".")
    found = Permission.objects.filter(content_type__app_label=app, codename=codename).first()
    if found is None:
        raise LookupError(f"There is no permission {right}.")
    return found
