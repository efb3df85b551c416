"""
What operators have to know: told once by email and in the log, until it is over.

An incident that lasts is one incident however often it is found; after it was over it may
begin anew.
"""

from __future__ import annotations

import json
from typing import Any, Final

import structlog
from django.db import connection
from django.utils import timezone

from billing.models import Alert

log = structlog.get_logger(__name__)

BEGIN: Final = """
insert into billing_alert (kind, subject, facts, told) values (%s, %s, %s, '{}')
on conflict do nothing
"""


def begin(*, kind: str, subject: str, facts: dict[str, Any]) -> bool:
    """Note that something is wrong; return whether that is news."""
    with connection.cursor() as cursor:
        # One statement: of two that find it at once, one makes the row.
        cursor.execute(BEGIN, [kind, subject, json.dumps(facts)])
        news = bool(cursor.rowcount)
    if news:
        log.critical("Incident", kind=kind, subject=subject, facts=facts)
    return news


def end(*, kind: str, subject: str) -> None:
    """Note that it is over."""
    Alert.objects.filter(workspace=None, kind=kind, subject=subject, closed_at=None).update(
        closed_at=timezone.now()
    )


def end_others(*, kind: str, subjects: set[str], of: str = "") -> None:
    """Note that all incidents of a kind are over but those named; `of`: how subjects begin."""
    open_ones = Alert.objects.filter(workspace=None, kind=kind, closed_at=None)
    others = open_ones.filter(subject__startswith=of).exclude(subject__in=subjects)
    others.update(closed_at=timezone.now())
