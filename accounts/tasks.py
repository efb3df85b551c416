"""What Celery does for accounts."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from accounts import once


@shared_task
def forget_answers() -> int:
    """Delete the kept answers of the management API whose time is over."""
    return once.forget_expired(now=timezone.now())
