"""Who belongs to a workspace, and as what. A workspace always keeps an owner."""

from __future__ import annotations

from django.db import transaction

from accounts import scopes, workspaces
from accounts.errors import Forbidden, ForeignWorkspace, Invalid
from accounts.models import Membership, User, Workspace
from accounts.scopes import Role, Scope


@transaction.atomic
def add(*, workspace: Workspace, user: User, role: str, by: User | None) -> Membership:
    """Make a person a member.

    :raises Forbidden: the one who adds may not, or may not give that role
    :raises Invalid: an unknown role, or a member already
    """
    wanted = _role(role)
    _lock(workspace)
    require_to_grant(by=by, workspace=workspace, role=wanted)
    if Membership.objects.filter(workspace=workspace, user=user).exists():
        raise Invalid(f"{user.email} is a member already.", param="user")
    return Membership.objects.create(workspace=workspace, user=user, role=wanted)


@transaction.atomic
def change_role(*, membership: Membership, role: str, by: User | None) -> Membership:
    """Give a member another role; their keys follow at once.

    :raises Forbidden: the one who changes may not touch the old or give the new role
    :raises Invalid: an unknown role, or the last owner would be gone
    """
    wanted = _role(role)
    _lock(membership.workspace)
    current = _reload(membership)
    require_to_grant(by=by, workspace=current.workspace, role=Role(current.role))
    require_to_grant(by=by, workspace=current.workspace, role=wanted)
    if wanted is not Role.OWNER:
        _keep_an_owner(current)
    current.role = wanted
    current.save(update_fields=["role"])
    return current


@transaction.atomic
def remove(*, membership: Membership, by: User | None) -> None:
    """End a membership, one's own or another's; the person's keys lose the workspace at once.

    :raises Forbidden: the one who removes may not
    :raises Invalid: the last owner, or the person whose personal workspace it is
    """
    _lock(membership.workspace)
    current = _reload(membership)
    if by is None or by.pk != current.user_id:
        require_to_grant(by=by, workspace=current.workspace, role=Role(current.role))
    if current.workspace.personal_of_id == current.user_id:
        raise Invalid("Nobody leaves their personal workspace.")
    _keep_an_owner(current)
    current.delete()


def require_to_grant(*, by: User | None, workspace: Workspace, role: Role) -> None:
    """Prove that a person may give and take a role; an operator (None) may.

    :raises ForeignWorkspace: the person is no member
    :raises Forbidden: the role is out of the person's reach
    """
    if by is None:
        return
    own = workspaces.role_in(user=by, workspace=workspace)
    if own is None:
        raise ForeignWorkspace
    if Scope.MEMBERS_MANAGE not in scopes.of_role(own):
        raise Forbidden(f"Your role {own} may not manage members.")
    if role is Role.OWNER and own is not Role.OWNER:
        raise Forbidden("Only an owner makes or removes owners.")


def _role(role: str) -> Role:
    try:
        scopes.of_role(role)
    except scopes.ScopeError as error:
        raise Invalid(str(error), param="role") from None
    return Role(role)


def _lock(workspace: Workspace) -> None:
    # One change of members at a time, so that two owners cannot both leave.
    locked = Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)
    if locked.closed_at is not None:
        raise Invalid("The workspace is closed.")


def _reload(membership: Membership) -> Membership:
    current = (
        Membership.objects.select_related("workspace", "user").filter(pk=membership.pk).first()
    )
    if current is None:
        raise Invalid("The person is no member any more.")
    return current


def _keep_an_owner(membership: Membership) -> None:
    if membership.role != Role.OWNER:
        return
    owners = Membership.objects.filter(workspace_id=membership.workspace_id, role=Role.OWNER)
    if not owners.exclude(pk=membership.pk).filter(user__is_active=True).exists():
        raise Invalid("A workspace keeps at least one owner; appoint another one first.")
