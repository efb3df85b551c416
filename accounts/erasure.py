"""
The end of an account: the person goes, the ledger stays.

Keys end at once, memberships too, the personal workspace is closed. What identifies the person
is overwritten; transfers, usage and the audit log keep their rows, which name no more than ids.
"""

from __future__ import annotations

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts import audit, keys, members, workspaces
from accounts.errors import Forbidden, Invalid
from accounts.models import ApiKey, Membership, User, Workspace
from accounts.scopes import Role


@transaction.atomic
def erase(*, user: User) -> None:
    """
    End an account for good.

    :raises Forbidden: staff; the operator ends theirs
    :raises Invalid: the only owner of a workspace that others or money may depend on
    """
    locked = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if locked.is_staff:
        raise Forbidden(_("An account of staff is ended by the operator."))
    _require_no_orphans(locked)
    for key in ApiKey.objects.filter(user=locked, deleted_at=None).order_by("pk"):
        keys.delete(key=key, by=locked)
    for membership in _memberships(locked).exclude(workspace__personal_of=locked):
        members.remove(membership=membership, by=locked)
    workspaces.close_personal(user=locked)
    _forget(locked)


def _memberships(user: User) -> QuerySet[Membership]:
    return Membership.objects.filter(user=user).select_related("workspace", "user")


def _require_no_orphans(user: User) -> None:
    owned = _memberships(user).filter(role=Role.OWNER, workspace__closed_at=None)
    for membership in owned.exclude(workspace__personal_of=user):
        others = Membership.objects.filter(
            workspace=membership.workspace, role=Role.OWNER, user__is_active=True
        )
        if not others.exclude(user=user).exists():
            words = _(
                "You are the only owner of %(workspace)s."
                " Make somebody else an owner, or close it first."
            )
            raise Invalid(words % {"workspace": membership.workspace.name})


def _forget(user: User) -> None:
    audit.record(
        action="account.deleted",
        by=user,
        target=audit.Target(user.public_id, ""),
        workspaces=list(Workspace.objects.filter(personal_of=user)),
    )
    EmailAddress.objects.filter(user=user).delete()
    Authenticator.objects.filter(user=user).delete()
    for session in UserSession.objects.filter(user=user):
        session.end()
    user.email = f"deleted-{user.pk}@invalid"
    user.name = ""
    user.is_active = False
    user.set_unusable_password()
    user.save(update_fields=["email", "name", "is_active", "password"])
