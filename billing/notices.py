"""
Emails about alerts: to those who run a workspace, or to the operators.

An alert is claimed, then sent outside any transaction, then marked; one whose sender died
is claimed again a few minutes later and goes to those who were not told yet.
"""

from __future__ import annotations

from typing import Any, Final

import structlog
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import connection
from django.db.models import Exists, OuterRef
from django.template.loader import render_to_string
from django.utils import timezone, translation

from accounts import webhookevents
from accounts.models import Membership, User, Workspace
from accounts.scopes import Role
from billing.models import Alert
from common import money

log = structlog.get_logger(__name__)

MOST: Final = 200
WEBHOOKS: Final = (Alert.Kind.BALANCE_LOW, Alert.Kind.CAP_THRESHOLD)
READERS: Final = (Role.OWNER, Role.ADMIN, Role.BILLING)
# Mail that could not be sent for a day is no news any more.
CLAIM: Final = """
update billing_alert set claimed_at = clock_timestamp()
where id in (
    select id from billing_alert
    where sent_at is null and created_at > clock_timestamp() - interval '1 day'
        and (claimed_at is null or claimed_at < clock_timestamp() - interval '3 minutes')
    order by id limit 1 for update skip locked
)
returning id
"""


def deliver() -> int:
    """Send the emails of alerts that were not sent yet; return how many alerts were."""
    sent = 0
    # One claim at a time: it must not run out while others are being sent. After a failure
    # the next round goes on, with those that were not tried yet.
    while sent < MOST and (alert := _claim()) is not None and _send(alert):
        sent += 1
    return sent


def tell_webhooks(alert: Alert) -> None:
    """Write down for webhooks that a balance is low, or that a level of a cap is reached."""
    if alert.workspace is None or alert.kind not in WEBHOOKS:
        return
    webhookevents.tell(
        workspace_id=alert.workspace.pk, kind=alert.kind, facts=_webhook_facts(alert)
    )


def tell_top_up(*, workspace_id: int, method: str, asset: str, amount: str, reference: str) -> None:
    """Write down for webhooks that money arrived, in the transaction that books it."""
    facts = {"method": method, "asset": asset, "amount": amount, "reference": reference}
    webhookevents.tell(workspace_id=workspace_id, kind="topup.succeeded", facts=facts)


def _webhook_facts(alert: Alert) -> dict[str, Any]:
    known = alert.facts
    if alert.kind == Alert.Kind.BALANCE_LOW:
        asset = str(known["asset"])
        amounts = {name: amount(known[name], asset) for name in ("balance", "threshold")}
        return {"asset": asset, **amounts}
    return {
        "level_percent": alert.level,
        "span": known["span"],
        "window": alert.window,
        "spent_usd": money.usd(known["spent"]),
        "cap_usd": money.usd(known["cap"]),
        "key_id": known.get("key_id"),
        "key_name": known.get("key_name"),
    }


def amount(units: int, asset: str) -> str:
    """Write units of an asset: dollars as dollars, tokens as they are."""
    return money.usd(units) if asset == "USD" else str(units)


def recipients(*, workspace: Workspace) -> list[User]:
    """Return who is told about a workspace: owners, admins and billing, by proved addresses."""
    proved = EmailAddress.objects.filter(
        user=OuterRef("pk"), email=OuterRef("email"), verified=True
    )
    seats = Membership.objects.filter(workspace=workspace, role__in=READERS)
    people = User.objects.filter(Exists(proved), pk__in=seats.values("user"), is_active=True)
    return list(people.order_by("pk"))


def _claim() -> Alert | None:
    with connection.cursor() as cursor:
        cursor.execute(CLAIM)
        row = cursor.fetchone()
    return Alert.objects.select_related("workspace").get(pk=row[0]) if row else None


def _send(alert: Alert) -> bool:
    """Send to all who were not told; an address that fails keeps nobody else from it."""
    whole = True
    for address, language in _addresses(alert):
        if address in alert.told:
            continue
        message = _message(alert, address=address, language=language)
        try:
            # Closes it also where the server lets nobody sign in.
            with get_connection() as message.connection:
                message.send()
        except OSError as error:
            log.warning(
                "An alert could not be sent yet", alert=alert.pk, error=type(error).__name__
            )
            whole = False
        else:
            alert.told.append(address)
            Alert.objects.filter(pk=alert.pk).update(told=alert.told)
    if whole:
        Alert.objects.filter(pk=alert.pk).update(sent_at=timezone.now())
    return whole


def _addresses(alert: Alert) -> list[tuple[str, str]]:
    if alert.workspace is None:
        return [(address, settings.LANGUAGE_CODE) for address in settings.OPERATOR_EMAILS]
    people = recipients(workspace=alert.workspace)
    return [(person.email, person.language) for person in people]


def _message(alert: Alert, *, address: str, language: str) -> EmailMultiAlternatives:
    folder = "operator" if alert.workspace is None else alert.kind.replace(".", "_")
    context = _context(alert)
    with translation.override(language):
        subject, text, html = (
            render_to_string(f"billing/email/{folder}{ending}", context)
            for ending in ("_subject.txt", ".txt", ".html")
        )
    message = EmailMultiAlternatives(" ".join(subject.split()), text, to=[address])
    message.attach_alternative(html, "text/html")
    return message


def _context(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert,
        "workspace": alert.workspace,
        "facts": alert.facts,
        "base_url": settings.BASE_URL,
    }
