"""
The end of an account: the person goes, the ledger stays.

Keys end at once, memberships too, the personal workspace is closed. What identifies the person
is overwritten; transfers, usage and the audit log keep their rows, which name no more than ids.
docs/privacy.md lists what becomes of every table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, keys, members, workspaces
from accounts.errors import Forbidden, Invalid
from accounts.models import (
    ApiKey,
    Consent,
    Invitation,
    KeptAnswer,
    Membership,
    User,
    WebhookEndpoint,
    WebhookEvent,
    Workspace,
)
from accounts.scopes import Role

# Called inside the transaction, while the person is still known: what layers above keep of them.
on_erased: Final[list[Callable[[User], None]]] = []


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
    for hook in on_erased:
        hook(locked)
    _record(locked)
    _forget_belongings(locked)
    _forget_mentions(locked)
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


def _record(user: User) -> None:
    audit.record(
        action="account.deleted",
        by=user,
        target=audit.Target(user.public_id, ""),
        workspaces=list(Workspace.objects.filter(personal_of=user)),
    )


def _forget_belongings(user: User) -> None:
    """Delete or blank what the person made: webhooks, names, addresses of keys, kept answers."""
    home = Workspace.objects.filter(personal_of=user)
    WebhookEndpoint.objects.filter(workspace__in=home).delete()
    WebhookEvent.objects.filter(workspace__in=home).delete()
    own = Q(caller__startswith=f"user:{user.pk}@")
    theirs = ApiKey.objects.filter(user=user)
    for key_id in theirs.values_list("pk", flat=True):
        own |= Q(caller__startswith=f"key:{key_id}@")
    KeptAnswer.objects.filter(own).delete()
    theirs.update(name="", ips=[])
    for workspace in home:
        workspace.service_accounts.update(name="")
        Workspace.objects.filter(pk=workspace.pk).update(name="", external_id=None)


def _forget_mentions(user: User) -> None:
    """Blank what others, or the log of changes, wrote of the person."""
    known = [*EmailAddress.objects.filter(user=user).values_list("email", flat=True), user.email]
    theirs = Q(email__in=known) | Q(accepted_by=user) | Q(workspace__personal_of=user)
    invitations = Invitation.objects.filter(theirs)
    ids = list(invitations.values_list("pk", flat=True))
    invitations.filter(accepted_at=None, revoked_at=None).update(revoked_at=timezone.now())
    Invitation.objects.filter(pk__in=ids).update(email=_nobody(user))
    Consent.objects.filter(user=user).update(address="")
    for row in (user, *Workspace.objects.filter(personal_of=user)):
        LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(row), object_id=str(row.pk)
        ).update(object_repr="", change_message="")
    User.objects.filter(pk=user.pk).update(is_active=False)
    with connection.cursor() as cursor:
        cursor.execute("select accounts_audit_forget(%s)", [user.pk])


def _forget(user: User) -> None:
    EmailAddress.objects.filter(user=user).delete()
    Authenticator.objects.filter(user=user).delete()
    for session in UserSession.objects.filter(user=user):
        session.end()
    user.email = _nobody(user)
    user.name = ""
    user.time_zone = "UTC"
    user.is_active = False
    user.set_unusable_password()
    user.save(update_fields=["email", "name", "time_zone", "is_active", "password"])


def _nobody(user: User) -> str:
    return f"deleted-{user.pk}@invalid"
