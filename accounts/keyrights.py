"""
Who may make and change which key.

Nobody hands on more than they have: the scopes of a key are within its owner's role in every
workspace it carries, and within what its maker may give there. A management key gives what it
carries itself, and inference and the common reads, because it cannot carry inference.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.translation import gettext as _

from accounts import scopes, signup
from accounts.actors import Actor, is_operator, rights, role_of
from accounts.errors import Forbidden, ForeignWorkspace
from accounts.keyrecord import KeyRecord
from accounts.models import ApiKey, ServiceAccount, User, Workspace
from accounts.scopes import EITHER, INFERENCE, Scope

__all__ = [
    "Actor",
    "grantable",
    "require_not_stopped_by_staff",
    "require_to_change",
    "require_to_detach",
    "require_to_make",
    "rights",
    "role_of",
]


def grantable(*, by: Actor, workspace: Workspace) -> frozenset[Scope]:
    """The scopes that someone may give to a key in a workspace.

    :raises ForeignWorkspace: they have no place in it
    """
    own = rights(by=by, workspace=workspace)
    if not isinstance(by, KeyRecord):
        return own
    carried = by.workspace(workspace.public_id)
    if carried is None or Scope.KEYS_MANAGE not in own:
        return frozenset()
    return own | (scopes.of_role(carried.role) & (INFERENCE | EITHER))


def require_to_make(
    *,
    by: Actor,
    owner: User | ServiceAccount,
    carried: Iterable[Workspace],
    wanted: frozenset[Scope],
) -> None:
    """Prove that someone may make a key of this owner, with these scopes, in these workspaces.

    :raises NotVerified: the person who makes it has not proved their address
    :raises ForeignWorkspace: maker or owner has no place in one of the workspaces
    :raises Forbidden: a scope is more than maker or owner has there, or a person without models
    """
    _require_verified(by)
    for workspace in carried:
        role = role_of(owner=owner, workspace=workspace)
        whose = _("The role %(role)s in %(workspace)s")
        # People whose role calls no models have no keys of their own, not even to read.
        needed = wanted | {Scope.CHAT} if isinstance(owner, User) else wanted
        _require_within(
            needed, scopes.of_role(role), whose % {"role": _(role), "workspace": workspace.name}
        )
        _require_to_act_for(by=by, owner=owner, workspace=workspace)
        whose = _("Your right in %(workspace)s") % {"workspace": workspace.name}
        _require_within(wanted, grantable(by=by, workspace=workspace), whose)


def _require_verified(by: Actor) -> None:
    if isinstance(by, User):
        signup.require_verified(by)
    elif isinstance(by, KeyRecord) and by.user_id is not None:
        signup.require_verified(User.objects.get(pk=by.user_id))


def _require_within(wanted: frozenset[Scope], allowed: frozenset[Scope], whose: str) -> None:
    excess = sorted(wanted - allowed)
    if excess:
        raise Forbidden(
            _("%(whose)s does not include %(scope)s.") % {"whose": whose, "scope": excess[0]},
            param="scopes",
        )


def _require_to_act_for(*, by: Actor, owner: User | ServiceAccount, workspace: Workspace) -> None:
    if isinstance(owner, User):
        # Whoever holds the secret acts as its owner: only the owner may ever receive it.
        if not is_operator(by) and not _is(by, owner):
            raise Forbidden(_("A key of a person is made by that person."), param="user")
        return
    if Scope.KEYS_MANAGE not in rights(by=by, workspace=workspace):
        words = _("Your right in %(workspace)s does not include %(right)s.")
        raise Forbidden(words % {"workspace": workspace.name, "right": "keys:manage"})


def _is(by: Actor, owner: User | ServiceAccount) -> bool:
    if isinstance(by, KeyRecord):
        own_id = by.user_id if isinstance(owner, User) else by.service_account_id
        return own_id == owner.pk
    return by == owner


def require_to_change(*, by: Actor, key: ApiKey) -> None:
    """Prove that someone may disable, delete or limit a key: its owner, or its keepers.

    A keeper manages keys in every workspace the key carries, so that nobody stops a key in a
    workspace that is none of theirs; there is detaching for that.

    :raises Forbidden: neither
    """
    if is_operator(by) or (isinstance(by, User) and by.pk == key.user_id):
        return
    carried = list(Workspace.objects.filter(key_workspaces__key=key))
    if not carried or not all(_keeps(by, workspace) for workspace in carried):
        words = _("This key is changed by its owner, or by who manages all its workspaces.")
        raise Forbidden(words)


def require_not_stopped_by_staff(*, by: Actor, key: ApiKey) -> None:
    """Prove that a key was not disabled by staff, or that the operator asks.

    :raises Forbidden: it was, and somebody else asks
    """
    if key.disabled_by_staff and not is_operator(by):
        raise Forbidden(_("The operator disabled this key. Ask them to enable it."))


def require_to_detach(*, by: Actor, key: ApiKey, workspace: Workspace) -> None:
    """Prove that someone may take a workspace away from a key.

    :raises Forbidden: neither the owner nor someone who manages the workspace's keys
    """
    if isinstance(by, User) and by.pk == key.user_id:
        return
    if not _keeps(by, workspace):
        words = _("Only who manages the keys of a workspace takes it away from a key.")
        raise Forbidden(words)


def _keeps(by: Actor, workspace: Workspace) -> bool:
    try:
        return Scope.KEYS_MANAGE in rights(by=by, workspace=workspace)
    except ForeignWorkspace:
        return False
