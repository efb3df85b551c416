"""What beat starts; each task calls one function and may run twice."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from celery import Task, shared_task
from django.db import DatabaseError
from django.utils import timezone

from proxy import (
    api_exportkinds,
    background,
    exports,
    health,
    heartbeats,
    keeping,
    prompts,
    reconciliation,
)
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


@shared_task
def watch_spool() -> None:
    """Alert where settlements wait on this machine's disk for too long, or were refused."""
    health.alert_spool()


@shared_task(bind=True, max_retries=None)
def make_generation(self: Task[Any, None], generation_id: str) -> None:
    """Begin to make one generation of /api/v2/generate, unless another worker has begun."""
    if not background.MAKER.begin(UUID(generation_id)):
        raise self.retry(countdown=2)


@shared_task
def tidy_kept() -> None:
    """End and delete what is kept too long; queue again what no worker has taken."""
    prompts.tidy()
    for generation_id in keeping.tidy().waiting:
        make_generation.delay(str(generation_id))


@shared_task
def reconcile_providers() -> None:
    """Compare the last days with each provider's own report."""
    reports = reconciliation.reconcile(today=datetime.now(UTC).date())
    counted = {f"{each.provider.slug} {each.day}": each.status for each in reports}
    heartbeats.beat(name="reconcile_providers", report=counted)


@shared_task
def build_export(public_id: str) -> None:
    """Write a file that was asked for, for a while; go on later where there is more."""
    try:
        more = api_exportkinds.build(public_id=public_id)
    except DatabaseError:
        # Not the file's fault: the next round of tidy_exports takes it up where it is.
        raise
    except Exception:
        exports.fail(public_id=public_id)
        raise
    if more:
        build_export.delay(public_id)


@shared_task
def tidy_exports() -> None:
    """Delete files that are past their time; take up those that a worker left."""
    now = timezone.now()
    exports.delete_expired(now=now)
    for public_id in exports.waiting(now=now):
        build_export.delay(public_id)
