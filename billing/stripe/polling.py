"""What is still open here, asked of Stripe again: an event may never come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.db.models import F, Min, Q

from billing import claims, incidents, topups
from billing.models import Alert
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
    return failures + sum(_repay(workspace_id, now) for workspace_id in _debtors())


def _sync(top_up: TopUp, now: datetime) -> int:
    TopUp.objects.filter(pk=top_up.pk).update(polled_at=now)
    return _asked(top_up.public_id, lambda: topups.processor().sync(top_up=top_up))


def _open_refunds() -> list[Refund]:
    waiting = Refund.objects.filter(status=Refund.Status.PENDING)
    return list(waiting.order_by(LONGEST, "id")[:MOST])


def _send(refund: Refund, now: datetime) -> int:
    Refund.objects.filter(pk=refund.pk).update(polled_at=now)
    return _asked(refund.public_id, lambda: topups.processor().refund(refund=refund))


def _repay(workspace_id: int, now: datetime) -> int:
    Claim.objects.filter(workspace_id=workspace_id).update(polled_at=now)
    subject = f"workspace:{workspace_id}"
    return _asked(subject, lambda: claims.repay(workspace_id=workspace_id))


def _asked(subject: str, ask: Callable[[], object]) -> int:
    """Ask after one thing; what fails, however it does, keeps nothing else from being asked."""
    try:
        ask()
    except StripeError as error:
        log.warning("What became of it is not known yet", subject=subject, why=str(error))
        return 1
    except Exception as error:
        log.exception("It could not be booked", subject=subject)
        facts = {"why": type(error).__name__, "kind": "polling", "object": subject}
        incidents.begin(kind=Alert.Kind.PAYMENT_UNMATCHED, subject=subject, facts=facts)
        return 1
    return 0


def _debtors() -> list[int]:
    owing = Claim.objects.filter(owed__gt=F("repaid")).order_by().values("workspace_id")
    longest = F("asked").asc(nulls_first=True)
    found = owing.annotate(asked=Min("polled_at")).order_by(longest, "workspace_id")
    return list(found.values_list("workspace_id", flat=True)[:MOST])
