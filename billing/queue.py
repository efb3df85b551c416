"""Work that follows a commit: a task where the broker is there, else polling finds it."""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)


def after_commit(task: str, *arguments: Any) -> None:
    """Have a task of billing.tasks run when the change is durable."""
    transaction.on_commit(partial(_send, f"billing.tasks.{task}", arguments))


def _send(task: str, arguments: tuple[Any, ...]) -> None:
    try:
        current_app.send_task(task, args=arguments, retry=False)
    except OperationalError:
        log.warning("The broker is away; polling does it", task=task)
