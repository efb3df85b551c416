"""Mail about approvals: to those who may decide, then to whoever asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils import timezone, translation

from accounts import approvals
from accounts.models import Approval, User

log = structlog.get_logger(__name__)

MOST: Final = 100


def tell() -> int:
    """Send what was not sent yet; return about how many requests."""
    state = Approval.State
    asked = Approval.objects.filter(state=state.PENDING, told_at=None)
    answered = Approval.objects.exclude(state=state.PENDING).filter(answered_at=None)
    people = ("requester", "approver")
    return sum(
        _tell(each, mark="told_at", template="approval_asked", to=approvals.deciders(approval=each))
        for each in asked.select_related(*people)[:MOST]
    ) + sum(
        _tell(each, mark="answered_at", template="approval_answered", to=[each.requester])
        for each in answered.select_related(*people)[:MOST]
    )


def _tell(approval: Approval, *, mark: str, template: str, to: Iterable[User]) -> bool:
    mine = Approval.objects.filter(pk=approval.pk)
    # Marked before it is sent: two workers at once write one mail.
    if not mine.filter(**{mark: None}).update(**{mark: timezone.now()}):
        return False
    try:
        for person in to:
            _send(approval, person, template)
    except OSError as error:
        log.warning("A mail about an approval waits", error=type(error).__name__)
        mine.update(**{mark: None})
        return False
    return True


def _send(approval: Approval, person: User, template: str) -> None:
    context = {"approval": approval, "base_url": settings.BASE_URL}
    # Like the admin site, for staff: in English.
    with translation.override(settings.LANGUAGE_CODE):
        subject, text = (
            render_to_string(f"account/email/{template}_{part}.txt", context)
            for part in ("subject", "message")
        )
    send_mail(" ".join(subject.split()), text, None, [person.email])
