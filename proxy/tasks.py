"""What beat starts; each task calls one function and may run twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from celery import Task, shared_task

from proxy import background, heartbeats, keeping, reconciliation
from proxy import sweep as sweeping


@shared_task
def sweep() -> None:
    """Close what dead gateways left open, on evidence."""
    report = sweeping.sweep()
    heartbeats.beat(name="sweep", report=msgspec.structs.asdict(report))


@shared_task
def heartbeat() -> None:
    """Leave the proof that beat schedules and a worker works."""
    heartbeats.beat(name="beat")


@shared_task(bind=True, max_retries=None)
def make_generation(self: Task[Any, None], generation_id: str) -> None:
    """Begin to make one generation of /api/v2/generate, unless another worker has begun."""
    if not background.MAKER.begin(UUID(generation_id)):
        raise self.retry(countdown=2)


@shared_task
def tidy_kept() -> None:
    """End and delete what is kept too long; queue again what no worker has taken."""
    for generation_id in keeping.tidy().waiting:
        make_generation.delay(str(generation_id))


@shared_task
def reconcile_providers() -> None:
    """Compare the last days with each provider's own report."""
    reports = reconciliation.reconcile(today=datetime.now(UTC).date())
    counted = {f"{each.provider.slug} {each.day}": each.status for each in reports}
    heartbeats.beat(name="reconcile_providers", report=counted)
