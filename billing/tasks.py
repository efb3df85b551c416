"""What beat starts; each task calls one function and may run twice."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from celery import shared_task

from billing import grants, partitions

log = structlog.get_logger(__name__)


@shared_task
def make_partitions() -> None:
    """Make the months that are missing, twelve ahead."""
    made = partitions.make_months()
    if made:
        log.info("Partitions made", partitions=made)


@shared_task
def expire_grants() -> None:
    """Book what is left of expired grants as breakage."""
    ended = grants.expire_due(now=datetime.now(UTC))
    if ended:
        log.info("Grants expired", lots=ended)
