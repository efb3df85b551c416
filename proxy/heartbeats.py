"""When the scheduled tasks last ran, and whether a worker answers now."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import current_app
from django.db import connection
from django.db.models.functions import Now

from proxy.models import TaskHeartbeat

BEAT_SILENT_AFTER = timedelta(seconds=90)
SWEEP_SILENT_AFTER = timedelta(minutes=5)
WORKER_TIMEOUT_S = 1.0


def beat(*, name: str, report: dict[str, Any] | None = None) -> None:
    """Write down that a task runs now, by the database's clock."""
    TaskHeartbeat.objects.update_or_create(
        name=name, defaults={"at": Now(), "report": report or {}}
    )


def age(*, name: str) -> timedelta | None:
    """Return how long ago a task last ran; None if it never did."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select clock_timestamp() - at from proxy_taskheartbeat where name = %s", [name]
        )
        row = cursor.fetchone()
    return row[0] if row else None


def worker_answers() -> bool:
    """Ask the Celery workers whether one is there."""
    return bool(current_app.control.ping(timeout=WORKER_TIMEOUT_S, limit=1))
