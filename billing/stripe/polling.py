"""What is still open here, asked of Stripe again: an event may never come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db.models import F, Min, Q

from billing import claims, topups
from billing.models_funding import Claim, Refund, TopUp
from billing.stripe.client import StripeError

log = structlog.get_logger(__name__)

MOST: Final = 100
PAUSE: Final = timedelta(minutes=2)
# Who waited longest for an answer comes first: what stays open keeps nothing else waiting.
LONGEST: Final = F("polled_at").asc(nulls_first=True)


def open_payments(*, now: datetime) -> int:
    """Ask after payments and refunds that are open, and collect debts; return how many failed."""
    waiting = TopUp.objects.filter(status=TopUp.Status.PENDING).filter(
        Q(polled_at=None) | Q(polled_at__lt=now - PAUSE)
    )
    # Pages that nobody pays stay open for a day.
    failures = sum(_sync(top_up, now) for top_up in waiting.order_by(LONGEST, "id")[:MOST])
    failures += sum(_send(each, now) for each in _open_refunds())
    for workspace_id in _debtors():
        Claim.objects.filter(workspace_id=workspace_id).update(polled_at=now)
        claims.repay(workspace_id=workspace_id)
    return failures


def _sync(top_up: TopUp, now: datetime) -> int:
    TopUp.objects.filter(pk=top_up.pk).update(polled_at=now)
    try:
        topups.processor().sync(top_up=top_up)
    except StripeError as error:
        log.warning("A payment's state is not known yet", top_up=top_up.public_id, why=str(error))
        return 1
    return 0


def _open_refunds() -> list[Refund]:
    waiting = Refund.objects.filter(status=Refund.Status.PENDING)
    return list(waiting.order_by(LONGEST, "id")[:MOST])


def _send(refund: Refund, now: datetime) -> int:
    Refund.objects.filter(pk=refund.pk).update(polled_at=now)
    try:
        topups.processor().refund(refund=refund)
    except StripeError as error:
        log.warning("A refund's state is not known yet", refund=refund.public_id, why=str(error))
        return 1
    return 0


def _debtors() -> list[int]:
    owing = Claim.objects.filter(owed__gt=F("repaid")).order_by().values("workspace_id")
    longest = F("asked").asc(nulls_first=True)
    found = owing.annotate(asked=Min("polled_at")).order_by(longest, "workspace_id")
    return list(found.values_list("workspace_id", flat=True)[:MOST])
