"""How the service does, measured now: what the public status page shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone
from django.utils.translation import gettext as _

from proxy import health, heartbeats
from proxy.models import GatewayProcess, Incident, TaskHeartbeat

BOOKS: Final = "books"
# The books are checked every hour.
BOOKS_OLD_AFTER: Final = timedelta(hours=3)
SHOWN_FOR: Final = timedelta(days=14)
MOST_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the service."""

    name: str
    works: bool


@dataclass(frozen=True, slots=True)
class Status:
    """What is known; ``balanced_at`` is when the books were last found right."""

    components: list[Component]
    balanced_at: datetime | None
    books_fresh: bool
    incidents: list[Incident]

    @property
    def all_work(self) -> bool:
        """Whether there is nothing to worry about."""
        ongoing = any(incident.ended_at is None for incident in self.incidents)
        return all(part.works for part in self.components) and not ongoing


def read() -> Status:
    """Measure everything; a store that is away is a component that does not work."""
    store = health.check_all(["database"])[0].ok
    parts = [
        Component(_("Gateway"), store and _measured(_gateway)),
        Component(_("Balances and keys"), store),
        Component(_("Rate limits"), health.check_all(["redis"])[0].ok),
        Component(_("Emails, webhooks and exports"), store and _measured(_background)),
    ]
    if not store:
        return Status(parts, None, books_fresh=False, incidents=[])
    balanced_at = _balanced_at()
    fresh = balanced_at is not None and timezone.now() - balanced_at < BOOKS_OLD_AFTER
    return Status(parts, balanced_at, books_fresh=fresh, incidents=_incidents())


def note_books(violations: int) -> None:
    """Keep when the books were checked and found right."""
    if not violations:
        heartbeats.beat(name=BOOKS)


def _measured(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except DatabaseError:
        return False


def _gateway() -> bool:
    alive_since = timezone.now() - timedelta(seconds=settings.SILENT_AFTER_S)
    alive = GatewayProcess.objects.filter(stopped_at=None, heartbeat_at__gte=alive_since)
    return alive.exists()


def _background() -> bool:
    age = heartbeats.age(name="beat")
    return age is not None and age < heartbeats.BEAT_SILENT_AFTER


def _balanced_at() -> datetime | None:
    return TaskHeartbeat.objects.filter(name=BOOKS).values_list("at", flat=True).first()


def _incidents() -> list[Incident]:
    since = timezone.now() - SHOWN_FOR
    recent = Incident.objects.exclude(ended_at__lt=since)
    return list(recent[:MOST_SHOWN])
