"""What beat starts; each task calls one function and may run twice."""

from __future__ import annotations

import msgspec
from celery import shared_task

from proxy import heartbeats
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
