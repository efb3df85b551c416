"""
Signing in and out, passwords and second factors in the audit log.

Called from the adapter's methods (accounts.adapter). They are told in the person's own workspace,
which nobody else reads: other workspaces are told what was done in them. Who has none is told of
to staff only.
"""

from __future__ import annotations

from typing import Any, Final

from django.db import transaction

from accounts import audit
from accounts.actors import Staff
from accounts.models import User, Workspace

# allauth tells of changed second factors and addresses in mails of these names only.
TOLD_BY_MAIL: Final = {
    "mfa/email/totp_activated": "user.totp_added",
    "mfa/email/totp_deactivated": "user.totp_removed",
    "mfa/email/recovery_codes_generated": "user.recovery_codes_made",
    "mfa/email/webauthn_added": "user.passkey_added",
    "mfa/email/webauthn_removed": "user.passkey_removed",
    "account/email/email_changed": "user.email_changed",
    "account/email/email_deleted": "user.email_removed",
}


@transaction.atomic
def record(action: str, *, user: User, by: audit.By, **after: Any) -> None:
    """Write down what happened to somebody's account."""
    place = _place(user)
    audit.record(action=action, by=by, target=_target(user), workspaces=[place], after=after)


@transaction.atomic
def by_staff(action: str, *, user: User, by: Staff, reason: str, **after: Any) -> None:
    """Write down what staff did to somebody's account: for its owner, and why for staff."""
    if _place(user) is not None:
        record(action, user=user, by=by, **after)
    why = {**after, "reason": reason}
    audit.record(action=action, by=by, target=_target(user), workspaces=[None], after=why)


def _place(user: User) -> int | None:
    return Workspace.objects.filter(personal_of=user).values_list("pk", flat=True).first()


def _target(user: User) -> audit.Target:
    return audit.Target(user.public_id, user.email)


def failed(*, email: str) -> None:
    """Write a wrong password down, where there is such an account: who tried, nobody knows."""
    user = User.objects.filter(email=email.strip().lower()).first()
    if user is not None:
        record("user.sign_in_failed", user=user, by=audit.STRANGER)


def told_by_mail(*, template: str, user: User) -> None:
    """Write down what allauth would send a mail about; mails themselves are another matter."""
    action = TOLD_BY_MAIL.get(template)
    if action is not None:
        record(action, user=user, by=user)
