"""Mail to those who run a workspace, when a webhook of theirs was stopped for good reason."""

from __future__ import annotations

from typing import Final

import structlog
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Exists, OuterRef
from django.template.loader import render_to_string
from django.utils import timezone, translation

from accounts.models import Membership, User, WebhookEndpoint
from accounts.scopes import ROLE_SCOPES, Scope

log = structlog.get_logger(__name__)

READERS: Final = [role for role, scopes in ROLE_SCOPES.items() if Scope.WEBHOOKS_MANAGE in scopes]
STOPPED: Final = (WebhookEndpoint.Stopped.FAILING, WebhookEndpoint.Stopped.GONE)
MOST: Final = 100


def tell() -> int:
    """Send what was not sent yet; return of how many endpoints."""
    waiting = WebhookEndpoint.objects.filter(stopped__in=STOPPED, told_at=None)
    found = waiting.select_related("workspace").order_by("id")[:MOST]
    return sum(_tell(endpoint) for endpoint in found)


def _tell(endpoint: WebhookEndpoint) -> bool:
    mine = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    # Claimed before it is sent: two workers at once write one mail.
    if not mine.filter(stopped__in=STOPPED, told_at=None).update(told_at=timezone.now()):
        return False
    try:
        for person in _readers(endpoint):
            _send(endpoint, person)
    except OSError as error:
        log.warning("A mail about a webhook waits", error=type(error).__name__)
        mine.update(told_at=None)
        return False
    return True


def _readers(endpoint: WebhookEndpoint) -> list[User]:
    proved = EmailAddress.objects.filter(
        user=OuterRef("pk"), email=OuterRef("email"), verified=True
    )
    seats = Membership.objects.filter(workspace_id=endpoint.workspace_id, role__in=READERS)
    people = User.objects.filter(Exists(proved), pk__in=seats.values("user"), is_active=True)
    return list(people.order_by("pk"))


def _send(endpoint: WebhookEndpoint, person: User) -> None:
    context = {
        "endpoint": endpoint,
        "workspace": endpoint.workspace,
        "gone": endpoint.stopped == WebhookEndpoint.Stopped.GONE,
        "base_url": settings.BASE_URL,
    }
    with translation.override(person.language):
        subject, text = (
            render_to_string(f"account/email/webhook_stopped_{part}.txt", context)
            for part in ("subject", "message")
        )
    send_mail(" ".join(subject.split()), text, None, [person.email])
