"""What Celery does for accounts."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from accounts import (
    approvalmail,
    approvals,
    impersonation,
    once,
    webhookdeliveries,
    webhookevents,
    webhookmail,
)

DELIVERY_EXPIRES_S = 20


@shared_task
def forget_answers() -> int:
    """Delete the kept answers of the management API whose time is over."""
    return once.forget_expired(now=timezone.now())


@shared_task
def tend_staff() -> None:
    """End what nobody decided in time and looks that are over; send mail about approvals."""
    now = timezone.now()
    approvals.expire_due(now=now)
    impersonation.end_overdue(now=now)
    approvalmail.tell()


@shared_task
def deliver_webhooks() -> None:
    """Have each delivery that is due attempted, and tell of webhooks that were stopped."""
    for delivery_id in webhookdeliveries.due():
        # One that waits longer than this is found again.
        deliver_webhook.apply_async((delivery_id,), expires=DELIVERY_EXPIRES_S)
    webhookmail.tell()


@shared_task
def deliver_webhook(delivery_id: int) -> None:
    """Attempt one delivery, unless another worker does."""
    webhookdeliveries.attempt(delivery_id=delivery_id)


@shared_task
def forget_webhooks() -> int:
    """Delete the events of webhooks that are past their time."""
    return webhookevents.forget_old()
