"""
Deliveries: claimed, attempted once per claim, tried again later, given up in the end.

A claim is one statement under SKIP LOCKED and lasts longer than an attempt can; whoever comes
back after it ran out changes nothing any more. Attempts happen outside any transaction.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import egress, webhookevents, webhooks, webhooksigning
from accounts.actors import Actor, rights
from accounts.errors import Forbidden, Invalid, Missing
from accounts.models import WebhookDelivery, WebhookEndpoint, Workspace
from accounts.models_webhook import TEST
from accounts.scopes import Scope
from common.crypto import UnreadableSecret

log = structlog.get_logger(__name__)

# After each failed try but the last; together a day and a half.
DELAYS_S: Final = (5, 30, 120, 600, 3600, 3 * 3600, 8 * 3600, 24 * 3600)
TRIES: Final = len(DELAYS_S) + 1
JITTER: Final = 0.2
# An endpoint that has only failed for so long is disabled when a delivery is given up.
FAILING_FOR: Final = timedelta(days=3)
GONE: Final = 410
LOG_LENGTH: Final = 30
# Slow endpoints keep few workers busy; each round looks at every endpoint.
AT_ONCE: Final = 4
A_ROUND: Final = 500
DUE: Final = """
select id from (
    select id, next_at, row_number() over (partition by endpoint_id order by next_at, id) as place
    from accounts_webhookdelivery
    where status = 'pending' and next_at <= clock_timestamp()
        and (claimed_until is null or claimed_until <= clock_timestamp())
) waiting
where place <= %s order by next_at, id limit %s
"""
# 60 seconds are more than a slow look-up and the deadline of the exchange together.
CLAIM: Final = """
update accounts_webhookdelivery d
set claimed_until = clock_timestamp() + interval '60 seconds',
    attempts = d.attempts + 1, tries = d.tries + 1
where d.id = (
    select c.id from accounts_webhookdelivery c
    where c.id = %s and c.status = 'pending' and c.next_at <= clock_timestamp()
        and (c.claimed_until is null or c.claimed_until <= clock_timestamp())
        and (select count(*) from accounts_webhookdelivery o
             where o.endpoint_id = c.endpoint_id and o.status = 'pending'
                 and o.claimed_until > clock_timestamp()) < %s
    for update skip locked
)
returning d.id
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to; without a code there was no answer."""

    code: int | None = None
    error: str = ""
    latency_ms: int | None = None

    @property
    def good(self) -> bool:
        """Whether the endpoint took it."""
        return self.code is not None and 200 <= self.code < 300


def of(*, endpoint: WebhookEndpoint) -> QuerySet[WebhookDelivery]:
    """The deliveries to an endpoint, the newest first."""
    return endpoint.deliveries.select_related("event").order_by("-id")


def get(*, endpoint: WebhookEndpoint, public_id: str) -> WebhookDelivery:
    """
    One delivery to an endpoint.

    :raises Missing: there is none of that id
    """
    found = of(endpoint=endpoint).filter(public_id=public_id).first()
    if found is None:
        raise Missing(_("There is no such delivery to this webhook."))
    return found


def due() -> list[int]:
    """Deliveries that are to be attempted now, fairly among endpoints."""
    with connection.cursor() as cursor:
        cursor.execute(DUE, [AT_ONCE, A_ROUND])
        return [row[0] for row in cursor.fetchall()]


def claim(*, delivery_id: int) -> WebhookDelivery | None:
    """Take a delivery for one attempt; None where it is another's, not due, or over."""
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, [delivery_id, AT_ONCE])
        row = cursor.fetchone()
    if row is None:
        return None
    found = WebhookDelivery.objects.select_related("event", "endpoint__workspace")
    return found.filter(pk=row[0]).first()


def attempt(*, delivery_id: int, resolve: egress.Resolve = egress.look_up) -> Outcome | None:
    """Claim a delivery and attempt it once; None where it was not ours to attempt."""
    claimed = claim(delivery_id=delivery_id)
    if claimed is None:
        return None
    if _is_over(claimed):
        return None
    outcome = _send(claimed, resolve=resolve)
    if _finish(claimed, outcome):
        _judge(claimed, outcome)
    return outcome


def _is_over(delivery: WebhookDelivery) -> bool:
    """Whether nothing is sent any more; an event may be noted while its endpoint is disabled."""
    endpoint = delivery.endpoint
    disabled = endpoint.disabled_at is not None and delivery.event.kind != TEST
    if not disabled and endpoint.workspace.closed_at is None:
        return False
    WebhookDelivery.objects.filter(pk=delivery.pk, status=WebhookDelivery.Status.PENDING).update(
        status=WebhookDelivery.Status.DROPPED, claimed_until=None, ended_at=timezone.now()
    )
    return True


def _send(delivery: WebhookDelivery, *, resolve: egress.Resolve) -> Outcome:
    now = timezone.now()
    body = delivery.event.body.encode()
    try:
        secrets = webhooks.secrets_of(delivery.endpoint, now=now)
    except UnreadableSecret as error:
        log.error("A webhook cannot be signed", error=str(error))
        return Outcome(error="The secret cannot be read; rotate it.")
    signed = webhooksigning.headers(
        event_id=delivery.event.public_id,
        body=body,
        sent_at_s=int(now.timestamp()),
        secrets=secrets,
    )
    named = {"content-type": "application/json", "user-agent": "Tollgate-Webhooks/1"}
    try:
        reply = egress.post(
            url=delivery.endpoint.url, headers=named | signed, body=body, resolve=resolve
        )
    except egress.EgressError as error:
        return Outcome(error=str(error)[:200])
    return Outcome(code=reply.status, error=_complaint(reply.status), latency_ms=reply.latency_ms)


def _complaint(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return "It answered with a redirect, which is not followed."
    return f"It answered {status}."


def _finish(delivery: WebhookDelivery, outcome: Outcome) -> bool:
    """Write down what came of the attempt; False where the claim is not ours any more."""
    now = timezone.now()
    delivery.log = [*delivery.log, _line(outcome, at=now)][-LOG_LENGTH:]
    end = _end(delivery, outcome)
    changed: dict[str, Any] = {
        "claimed_until": None,
        "code": outcome.code,
        "error": outcome.error,
        "latency_ms": outcome.latency_ms,
        "log": delivery.log,
    }
    if end:
        changed |= {"status": end, "ended_at": now}
    else:
        changed["next_at"] = now + timedelta(seconds=delay_s(tries=delivery.tries))
    mine = WebhookDelivery.objects.filter(
        pk=delivery.pk, attempts=delivery.attempts, status=WebhookDelivery.Status.PENDING
    )
    return bool(mine.update(**changed))


def _end(delivery: WebhookDelivery, outcome: Outcome) -> str:
    if outcome.good:
        return WebhookDelivery.Status.DELIVERED
    is_last = delivery.tries >= TRIES or delivery.event.kind == TEST or outcome.code == GONE
    return WebhookDelivery.Status.FAILED if is_last else ""


def _line(outcome: Outcome, *, at: datetime) -> dict[str, Any]:
    return {
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "code": outcome.code,
        "error": outcome.error,
        "latency_ms": outcome.latency_ms,
    }


def delay_s(*, tries: int) -> float:
    """How long to wait after so many tries, with some chance, so that not all come at once."""
    base = DELAYS_S[min(tries, len(DELAYS_S)) - 1]
    return base * (1 + random.random() * JITTER)  # noqa: S311 - spreads load, guards nothing


def _judge(delivery: WebhookDelivery, outcome: Outcome) -> None:
    """Keep what an endpoint's answers say of it; stop one that is gone or has long failed."""
    rows = WebhookEndpoint.objects.filter(pk=delivery.endpoint_id)
    if outcome.good:
        rows.exclude(failing_since=None).update(failing_since=None)
        return
    if delivery.event.kind == TEST:
        return
    if outcome.code == GONE:
        webhooks.stop(endpoint=delivery.endpoint, why=WebhookEndpoint.Stopped.GONE)
        return
    rows.filter(failing_since=None).update(failing_since=timezone.now())
    long_ago = timezone.now() - FAILING_FOR
    if delivery.tries >= TRIES and rows.filter(failing_since__lte=long_ago).exists():
        webhooks.stop(endpoint=delivery.endpoint, why=WebhookEndpoint.Stopped.FAILING)


@transaction.atomic
def resend(*, delivery: WebhookDelivery, by: Actor) -> WebhookDelivery:
    """
    Send it once more now, with the same id and body; one that is on its way is hurried.

    :raises Forbidden: the one who asks may not
    :raises Invalid: the endpoint is disabled
    """
    endpoint = WebhookEndpoint.objects.select_related("workspace").get(pk=delivery.endpoint_id)
    _require(by, endpoint.workspace)
    if endpoint.disabled_at is not None and delivery.event.kind != TEST:
        raise Invalid(_("The webhook is disabled; enable it first."))
    rows = WebhookDelivery.objects.select_related("event")
    current = rows.select_for_update(no_key=True, of=("self",)).get(pk=delivery.pk)
    if current.status != WebhookDelivery.Status.PENDING:
        current.status, current.ended_at, current.tries = WebhookDelivery.Status.PENDING, None, 0
    current.next_at = timezone.now()
    current.save(update_fields=["status", "ended_at", "tries", "next_at"])
    transaction.on_commit(webhookevents.wake, robust=True)
    return current


def _require(by: Actor, workspace: Workspace) -> None:
    if Scope.WEBHOOKS_MANAGE not in rights(by=by, workspace=workspace):
        raise Forbidden(
            _("Your right here does not include %(right)s.") % {"right": "webhooks:manage"}
        )
