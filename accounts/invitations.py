"""
Invitations: a mail with a link, a role when the link is followed.

The link's token is kept as a digest only. It is good for one address, for a week, and only as
long as whoever invited may still give the role.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from accounts import actors, audit, keybounds, members
from accounts.actors import Actor
from accounts.errors import Forbidden, Hasty, Invalid, Missing
from accounts.models import Invitation, Membership, ServiceAccount, User, Workspace
from accounts.scopes import Role
from accounts.seats import role_name
from common import tries

GOOD_FOR: Final = timedelta(days=7)
MOST_OPEN: Final = 200
# From one address, within an hour.
MOST_SENT: Final = 100
MOST_UNKNOWN: Final = 30


@transaction.atomic
def create(*, workspace: Workspace, email: str, role: str, by: Actor) -> Invitation:
    """
    Invite whoever reads the mail of an address; an open invitation of the same is replaced.

    :raises Forbidden: the one who invites may not, or may not give that role
    :raises Hasty: too many were sent from here
    :raises Invalid: no address, an unknown role, a member already, or too many are open
    """
    address, wanted = _address(email), members.known_role(role=role)
    Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)
    members.require_to_grant(by=by, workspace=workspace, role=wanted)
    keybounds.require_unbound(by=by, workspace=workspace)
    if Membership.objects.filter(workspace=workspace, user__email=address).exists():
        raise Invalid(_("%(who)s is a member already.") % {"who": address}, param="email")
    for earlier in pending(workspace=workspace).filter(email=address):
        _end(earlier, by=by)
    if pending(workspace=workspace).count() >= MOST_OPEN:
        raise Invalid(_("At most %(most)d invitations are open at once.") % {"most": MOST_OPEN})
    _send_no_more_than_so_many()
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        workspace=workspace,
        email=address,
        role=wanted,
        digest=_digest(token),
        invited_by_id=actors.person_id(by),
        invited_by_service_id=actors.service_account_id(by),
        expires_at=timezone.now() + GOOD_FOR,
    )
    _record("invitation.created", invitation, by=by)
    transaction.on_commit(lambda: _mail(invitation, token), robust=True)
    return invitation


def pending(*, workspace: Workspace) -> QuerySet[Invitation]:
    """The invitations of a workspace that nobody has accepted or taken back."""
    return Invitation.objects.filter(workspace=workspace, accepted_at=None, revoked_at=None)


@transaction.atomic
def resend(*, invitation: Invitation, by: Actor) -> Invitation:
    """
    Send another link for an open invitation, good for a week again; the one before is dead.

    :raises Forbidden: the one who asks may not give that role
    :raises Hasty: too many were sent from here
    :raises Invalid: it was accepted or taken back before
    """
    found = _open(invitation, by=by)
    _send_no_more_than_so_many()
    keybounds.require_unbound(by=by, workspace=found.workspace)
    token = secrets.token_urlsafe(32)
    found.digest, found.expires_at = _digest(token), timezone.now() + GOOD_FOR
    found.invited_by_id = actors.person_id(by)
    found.invited_by_service_id = actors.service_account_id(by)
    found.save(update_fields=["digest", "expires_at", "invited_by", "invited_by_service"])
    _record("invitation.resent", found, by=by)
    transaction.on_commit(lambda: _mail(found, token), robust=True)
    return found


def _send_no_more_than_so_many() -> None:
    # Mail to strangers in our name: whoever has an account may not send it without end.
    if tries.note("invitations-sent") > MOST_SENT:
        raise Hasty


def _open(invitation: Invitation, *, by: Actor) -> Invitation:
    """The invitation, locked, where somebody may still do something about it."""
    current = Invitation.objects.select_related("workspace").select_for_update(of=("self",))
    found = current.get(pk=invitation.pk)
    members.require_to_grant(by=by, workspace=found.workspace, role=Role(found.role))
    if found.accepted_at is not None or found.revoked_at is not None:
        raise Invalid(_("The invitation is not open any more."))
    return found


@transaction.atomic
def revoke(*, invitation: Invitation, by: Actor) -> None:
    """
    Take an invitation back; its link is dead at once.

    :raises Forbidden: the one who asks may not take that role
    :raises Invalid: it was accepted or taken back before
    """
    _end(_open(invitation, by=by), by=by)


def _end(invitation: Invitation, *, by: Actor) -> None:
    invitation.revoked_at = timezone.now()
    invitation.save(update_fields=["revoked_at"])
    _record("invitation.revoked", invitation, by=by)


def by_token(*, token: str, now: datetime) -> Invitation:
    """
    The open invitation behind a link.

    :raises Hasty: this address has tried too many that are none
    :raises Missing: there is none, or its time is over
    """
    if tries.made("unknown-invitations") >= MOST_UNKNOWN:
        raise Hasty
    found = Invitation.objects.select_related("workspace", "invited_by").filter(
        digest=_digest(token), accepted_at=None, revoked_at=None, expires_at__gt=now
    )
    invitation = found.filter(workspace__closed_at=None).first()
    if invitation is None:
        tries.note("unknown-invitations")
        raise Missing(_("The invitation is not good any more. Ask for a new one."))
    return invitation


@transaction.atomic
def accept(*, token: str, user: User) -> Membership:
    """
    Become a member by following the link.

    :raises Forbidden: the invitation is for another address, or whoever invited may no longer
    :raises Invalid: a member already
    :raises Missing: the link is not good any more
    """
    found = by_token(token=token, now=timezone.now())
    # The workspace first, as whoever invites does; and no inviter goes while somebody accepts.
    Workspace.objects.select_for_update(no_key=True).get(pk=found.workspace_id)
    locked = Invitation.objects.select_for_update(no_key=True).get(pk=found.pk)
    ended = locked.accepted_at is not None or locked.revoked_at is not None
    if ended or bytes(locked.digest) != _digest(token):
        raise Missing(_("The invitation is not good any more. Ask for a new one."))
    if user.email != found.email:
        words = _("The invitation is for %(email)s. Sign in with that address.")
        raise Forbidden(words % {"email": found.email})
    _require_inviter(locked)
    membership = members.join(workspace=found.workspace, user=user, role=Role(found.role))
    locked.accepted_at, locked.accepted_by = timezone.now(), user
    locked.save(update_fields=["accepted_at", "accepted_by"])
    _record("invitation.accepted", found, by=user)
    return membership


def _require_inviter(invitation: Invitation) -> None:
    """Prove that whoever sent the link may still give the role; an operator always may."""
    by = _inviter(invitation)
    if by is None:
        return
    try:
        if isinstance(by, ServiceAccount) and by.disabled_at is not None:
            raise Forbidden("disabled")
        members.require_to_grant(by=by, workspace=invitation.workspace, role=Role(invitation.role))
    except Forbidden:
        words = _("Whoever invited you may not do so any more. Ask for another.")
        raise Forbidden(words) from None


def _inviter(invitation: Invitation) -> User | ServiceAccount | None:
    if invitation.invited_by_service_id is None:
        return invitation.invited_by
    # Locked: it is not disabled or lowered between this look and the membership.
    accounts = ServiceAccount.objects.select_for_update(no_key=True)
    return accounts.get(pk=invitation.invited_by_service_id)


def _address(email: str) -> str:
    address = email.strip().lower()
    try:
        validate_email(address)
    except ValidationError:
        raise Invalid(_("This is no email address."), param="email") from None
    return address


def _digest(token: str) -> bytes:
    # 256 random bits: there is nothing to guess, so a plain digest is enough.
    return hashlib.sha256(token.encode()).digest()


def _record(action: str, invitation: Invitation, *, by: Actor) -> None:
    audit.record(
        action=action,
        by=by,
        target=audit.Target(invitation.public_id, invitation.email),
        workspaces=[invitation.workspace_id],
        after={"email": invitation.email, "role": str(invitation.role)},
    )


def _mail(invitation: Invitation, token: str) -> None:
    context = {
        "workspace": invitation.workspace.name,
        "inviter": invitation.invited_by.get_full_name() if invitation.invited_by else "",
        "url": f"{settings.BASE_URL}/invitations/{token}",
        "days": GOOD_FOR.days,
        "base_url": settings.BASE_URL,
    }
    known = User.objects.filter(email=invitation.email).first()
    # Whoever is new here is written to in the language of whoever invites.
    with translation.override(known.language if known else translation.get_language()):
        context["role"] = role_name(Role(invitation.role))
        subject = render_to_string("account/email/invitation_subject.txt", context).strip()
        text = render_to_string("account/email/invitation_message.txt", context)
    send_mail(subject, text, None, [invitation.email])
