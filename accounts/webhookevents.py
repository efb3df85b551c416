"""
What endpoints are told: written into the outbox by whoever makes it happen, in its transaction.

Delivery is nobody's business here: once the transaction is committed a worker is woken, and
where that fails beat finds the deliveries.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec
import structlog
from celery import current_app
from django.db import connection, transaction
from django.utils import timezone
from kombu.exceptions import KombuError

from accounts.models import ApiKey, ApiKeyWorkspace, WebhookDelivery, WebhookEndpoint, WebhookEvent
from accounts.models_webhook import TEST

log = structlog.get_logger(__name__)

TASK: Final = "accounts.tasks.deliver_webhooks"
KEPT_FOR: Final = timedelta(days=30)
MOST_DELETED: Final = 5000
TELL: Final = "select accounts_tell_webhooks(%s, %s, %s::jsonb)"
TEST_IT: Final = """
select accounts_webhook_delivery(accounts_webhook_event(%s, %s, %s::jsonb), %s)
"""


def tell(*, workspace_id: int, kind: str, facts: Mapping[str, Any]) -> int:
    """
    Write down that something happened, for each endpoint that wants it; return how many do.

    Never secrets, never prompts: it leaves the house.

    :raises RuntimeError: outside the transaction of what happened
    """
    if not connection.in_atomic_block:
        raise RuntimeError("An event is written in the transaction of its cause.")
    count: int = _value(TELL, [workspace_id, kind, _json(facts)])
    if count:
        transaction.on_commit(wake, robust=True)
    return count


def tell_of_key(key: ApiKey, *, kind: str) -> None:
    """Tell every workspace of a key what happened to it."""
    # The playground's keys live for minutes and are made by opening a page.
    if key.kind == ApiKey.Kind.PLAYGROUND:
        return
    facts = {
        "id": key.public_id,
        "name": key.name,
        "hint": key.hint,
        "scopes": key.scopes,
        "expires_at": key.expires_at,
        "disabled_at": key.disabled_at,
        "replaces": key.replaces.public_id if key.replaces else None,
    }
    places = ApiKeyWorkspace.objects.filter(key=key).order_by("workspace_id")
    for workspace_id in places.values_list("workspace_id", flat=True):
        tell(workspace_id=workspace_id, kind=kind, facts=facts)


def send_test(*, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """A delivery that says nothing happened; it is attempted once."""
    facts = {"message": "This is a test; nothing happened."}
    made = _value(TEST_IT, [endpoint.workspace_id, TEST, _json(facts), endpoint.pk])
    transaction.on_commit(wake, robust=True)
    return WebhookDelivery.objects.select_related("event", "endpoint").get(pk=made)


def wake() -> None:
    """Have a worker look for deliveries; where the queue is away, beat does it soon."""
    try:
        current_app.send_task(TASK, retry=False)
    except (KombuError, OSError) as error:
        log.warning("Webhooks wait for beat", error=type(error).__name__)


def forget_old() -> int:
    """Delete events with their deliveries past their time; return how many."""
    old = WebhookEvent.objects.filter(created_at__lt=timezone.now() - KEPT_FOR)
    pks = list(old.order_by("created_at").values_list("pk", flat=True)[:MOST_DELETED])
    WebhookEvent.objects.filter(pk__in=pks).delete()
    return len(pks)


def _value(statement: str, parameters: list[Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    return row[0]


def _json(facts: Mapping[str, Any]) -> str:
    return msgspec.json.encode(facts).decode()
