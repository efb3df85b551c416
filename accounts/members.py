"""Who belongs to a workspace, and as what. A workspace always keeps an owner."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from accounts import actors, audit, keybounds, scopes, versions
from accounts.actors import Actor, is_operator
from accounts.errors import Forbidden, Invalid
from accounts.keyrecord import KeyRecord
from accounts.models import Membership, User, Workspace
from accounts.scopes import EITHER, INFERENCE, Role, Scope


@transaction.atomic
def add(*, workspace: Workspace, user: User, role: str, by: Actor) -> Membership:
    """Make a person a member.

    :raises Forbidden: the one who adds may not, or may not give that role
    :raises Invalid: an unknown role, or a member already
    """
    wanted = known_role(role=role)
    _lock(workspace)
    require_to_grant(by=by, workspace=workspace, role=wanted)
    keybounds.require_unbound(by=by, workspace=workspace)
    return _added(workspace, user, wanted, by=by)


@transaction.atomic
def join(*, workspace: Workspace, user: User, role: Role) -> Membership:
    """Make someone a member whose invitation was proved by the caller.

    :raises Invalid: a member already, or the workspace is closed
    """
    _lock(workspace)
    return _added(workspace, user, role, by=user)


def _added(workspace: Workspace, user: User, role: Role, *, by: Actor) -> Membership:
    if Membership.objects.filter(workspace=workspace, user=user).exists():
        raise Invalid(_("%(who)s is a member already.") % {"who": user.email}, param="user")
    membership = Membership.objects.create(workspace=workspace, user=user, role=role)
    _record("member.added", membership, by=by, after=facts(membership))
    return membership


def facts(membership: Membership) -> dict[str, object]:
    """What can be changed of a membership."""
    return {"role": str(membership.role)}


def _record(
    action: str,
    membership: Membership,
    *,
    by: Actor,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    # Whose seat it is by id: names change, and two people may have one.
    whose = {"user_id": membership.user.public_id}
    audit.record(
        action=action,
        by=by,
        target=audit.Target(membership.public_id, membership.user.get_full_name()),
        workspaces=[membership.workspace],
        before=None if before is None else before | whose,
        after=None if after is None else after | whose,
    )


@transaction.atomic
def change_role(
    *, membership: Membership, role: str, by: Actor, version: str | None = None
) -> Membership:
    """Give a member another role; their keys follow at once.

    :raises Conflict: the member is not at the version that was asked for
    :raises Forbidden: the one who changes may not touch the old or give the new role
    :raises Invalid: an unknown role, or the last owner would be gone
    """
    wanted = known_role(role=role)
    _lock(membership.workspace)
    current = _reload(membership)
    require_to_grant(by=by, workspace=current.workspace, role=Role(current.role))
    require_to_grant(by=by, workspace=current.workspace, role=wanted)
    if wanted is Role.OWNER or not scopes.of_role(current.role) >= scopes.of_role(wanted):
        keybounds.require_unbound(by=by, workspace=current.workspace)
    before = facts(current)
    versions.require(wanted=version, current=versions.of(before))
    if wanted is not Role.OWNER:
        _keep_an_owner(current)
    current.role = wanted
    current.save(update_fields=["role"])
    _record("member.role_changed", current, by=by, before=before, after=facts(current))
    return current


@transaction.atomic
def remove(*, membership: Membership, by: Actor) -> None:
    """End a membership, one's own or another's; the person's keys lose the workspace at once.

    :raises Forbidden: the one who removes may not
    :raises Invalid: the last owner, or the person whose personal workspace it is
    """
    _lock(membership.workspace)
    current = _reload(membership)
    leaves = isinstance(by, User) and by.pk == current.user_id
    if not leaves:
        require_to_grant(by=by, workspace=current.workspace, role=Role(current.role))
    if current.workspace.personal_of_id == current.user_id:
        raise Invalid(_("Nobody leaves their personal workspace."))
    _keep_an_owner(current)
    _record("member.left" if leaves else "member.removed", current, by=by, before=facts(current))
    current.delete()


def require_to_grant(*, by: Actor, workspace: Workspace, role: Role) -> None:
    """Prove that someone may give and take a role; an operator may.

    :raises ForeignWorkspace: they have no place in the workspace
    :raises Forbidden: the role is out of their reach
    """
    if is_operator(by):
        return
    own = actors.role(by=by, workspace=workspace)
    right = actors.rights(by=by, workspace=workspace)
    if Scope.MEMBERS_MANAGE not in right:
        raise Forbidden(_("Your role %(role)s may not manage members.") % {"role": _(own)})
    if role is Role.OWNER and own is not Role.OWNER:
        raise Forbidden(_("Only an owner makes or removes owners."))
    if isinstance(by, KeyRecord):
        # Whoever gets the role could make keys with all of it: no more than the key has,
        # and what a management key may hand on without having it.
        excess = sorted(scopes.of_role(role) - right - INFERENCE - EITHER)
        if excess:
            words = _("The key lacks %(scope)s, which the role %(role)s includes.")
            raise Forbidden(words % {"scope": excess[0], "role": _(role)})


def known_role(*, role: str) -> Role:
    """The role of this name.

    :raises Invalid: there is none
    """
    try:
        scopes.of_role(role)
    except scopes.ScopeError as error:
        raise Invalid(str(error), param="role") from None
    return Role(role)


def _lock(workspace: Workspace) -> None:
    # One change of members at a time, so that two owners cannot both leave.
    locked = Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)
    if locked.closed_at is not None:
        raise Invalid(_("The workspace is closed."))


def _reload(membership: Membership) -> Membership:
    current = (
        Membership.objects.select_related("workspace", "user").filter(pk=membership.pk).first()
    )
    if current is None:
        raise Invalid(_("The person is no member any more."))
    return current


def _keep_an_owner(membership: Membership) -> None:
    alone = owns_alone(workspace=membership.workspace, user=membership.user)
    if membership.role == Role.OWNER and alone:
        raise Invalid(_("A workspace keeps at least one owner; appoint another one first."))


def owns_alone(*, workspace: Workspace, user: User) -> bool:
    """Whether a workspace has no active owner but this person."""
    owners = Membership.objects.filter(workspace=workspace, role=Role.OWNER, user__is_active=True)
    return not owners.exclude(user=user).exists()
