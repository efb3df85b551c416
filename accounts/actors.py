"""Who acts, and what they may do where: the same answer for people, keys and operators."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from accounts import scopes
from accounts.errors import Forbidden, ForeignWorkspace
from accounts.keyrecord import KeyRecord
from accounts.models import Membership, ServiceAccount, User, Workspace
from accounts.scopes import Role, Scope


@dataclass(frozen=True, slots=True)
class Staff:
    """A person who works for the operator, in the admin site, with the operator's rights."""

    user: User


# A person in the dashboard, a service account, either through a management key, staff in the
# admin site, or (None) an operator at the command line.
Actor = User | ServiceAccount | KeyRecord | Staff | None


def is_operator(by: Actor) -> bool:
    """Whether someone acts for the operator, whom no role binds."""
    return by is None or isinstance(by, Staff)


def person_id(by: Actor) -> int | None:
    """The person who acts or on whose behalf a key acts; None where it is nobody."""
    if isinstance(by, KeyRecord):
        return by.user_id
    if isinstance(by, Staff):
        return by.user.pk
    return by.pk if isinstance(by, User) else None


def service_account_id(by: Actor) -> int | None:
    """The service account that acts or on whose behalf a key acts; None where it is none."""
    if isinstance(by, KeyRecord):
        return by.service_account_id
    return by.pk if isinstance(by, ServiceAccount) else None


def role_in(*, user: User, workspace: Workspace) -> Role | None:
    """The person's role; None for someone who is no member."""
    role = (
        Membership.objects.filter(user=user, workspace=workspace)
        .values_list("role", flat=True)
        .first()
    )
    return None if role is None else Role(role)


def role_of(*, owner: User | ServiceAccount, workspace: Workspace) -> str:
    """The role of a person or service account in a workspace.

    :raises ForeignWorkspace: the owner has none
    """
    if isinstance(owner, ServiceAccount):
        if owner.workspace_id != workspace.pk:
            raise ForeignWorkspace(_("A service account's key carries its own workspace only."))
        return owner.role
    role = role_in(user=owner, workspace=workspace)
    if role is None:
        raise ForeignWorkspace(_("%(who)s is no member of this workspace.") % {"who": owner.email})
    return role


def role(*, by: Actor, workspace: Workspace) -> Role:
    """The role behind an actor in a workspace; operators stand above owners.

    :raises ForeignWorkspace: they have no place in it
    """
    if by is None or isinstance(by, Staff):
        return Role.OWNER
    if isinstance(by, KeyRecord):
        carried = by.workspace(workspace.public_id)
        if carried is None:
            raise ForeignWorkspace(_("The key does not carry this workspace."))
        return Role(carried.role)
    if isinstance(by, User) and role_in(user=by, workspace=workspace) is None:
        raise ForeignWorkspace
    return Role(role_of(owner=by, workspace=workspace))


def rights(*, by: Actor, workspace: Workspace) -> frozenset[Scope]:
    """What someone may do in a workspace.

    :raises ForeignWorkspace: they have no place in it
    """
    if is_operator(by):
        return scopes.ALL
    if isinstance(by, KeyRecord):
        carried = by.workspace(workspace.public_id)
        if carried is None:
            raise ForeignWorkspace(_("The key does not carry this workspace."))
        return frozenset(Scope(scope) for scope in carried.scopes)
    return scopes.of_role(role(by=by, workspace=workspace))


def require_people_rights(*, by: Actor, workspace: Workspace) -> None:
    """Prove that someone manages the people and the place itself.

    :raises ForeignWorkspace: they have no place in it
    :raises Forbidden: the role, or the key, does not include members:manage
    """
    if Scope.MEMBERS_MANAGE not in rights(by=by, workspace=workspace):
        raise Forbidden(
            _("Your right here does not include %(right)s.") % {"right": "members:manage"}
        )
