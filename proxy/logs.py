"""
The requests of a workspace, the newest first, a page at a time.

What a filter seldom finds is looked for in a bounded stretch of requests: such a page may be
short, or empty, and still be followed by another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Q, QuerySet

from accounts.models import ApiKey, Workspace
from billing import summaries
from billing.models import Usage
from common.pagination import Page, Wanted

SCANNED_AT_ONCE: Final = 20_000
# A hold's day and its request's id may be on two sides of midnight.
CLOCKS_APART: Final = timedelta(days=1)
FAILED: Final = Q(status__isnull=True) | Q(status__gte=400)
# Room for a day on both sides, whatever a caller asks for.
EARLIEST: Final = date(1970, 1, 2)
LATEST: Final = date(9999, 12, 30)
# What an index finds; everything else is looked for.
COUNTABLE: Final = frozenset({"since", "until", "key_id", "model"})


def read(*, workspace: Workspace, query: Mapping[str, Any], wanted: Wanted) -> Page:
    """One page of requests."""
    rows = _indexed(workspace, query)
    if wanted.after is not None:
        rows = rows.filter(id__lt=UUID(wanted.after))
    sought = _sought(query)
    floor = _floor(rows) if sought else None
    found = rows.filter(sought) if sought else rows
    if floor is not None:
        found = found.filter(id__gte=floor)
    page = list(found.select_related("key")[: wanted.limit + 1])
    if len(page) > wanted.limit:
        return Page(page[: wanted.limit], str(page[wanted.limit - 1].id))
    return Page(page, str(floor) if floor else None)


def _indexed(workspace: Workspace, query: Mapping[str, Any]) -> QuerySet[Usage]:
    rows = Usage.objects.filter(workspace=workspace).order_by("-id")
    if "since" in query:
        since: datetime = query["since"]
        rows = rows.filter(id__gte=_first_id(since), day__gte=_day(since) - CLOCKS_APART)
    if "until" in query:
        until: datetime = query["until"]
        rows = rows.filter(id__lt=_first_id(until), day__lte=_day(until) + CLOCKS_APART)
    if "key_id" in query:
        rows = rows.filter(key_id=_key_id(workspace, query["key_id"]))
    return rows


def _sought(query: Mapping[str, Any]) -> Q:
    sought = Q()
    for name in ("model", "provider", "surface", "asset"):
        if name in query:
            sought &= Q(**{name: query[name]})
    if "status" in query:
        sought &= FAILED if query["status"] == "failed" else ~FAILED
    return sought


def _floor(rows: QuerySet[Usage]) -> UUID | None:
    """The last request of the stretch that one page looks through; None where it is all."""
    ids = rows.values_list("id", flat=True)
    return next(iter(ids[SCANNED_AT_ONCE - 1 : SCANNED_AT_ONCE]), None)


def _key_id(workspace: Workspace, public_id: str) -> int:
    found = ApiKey.objects.filter(public_id=public_id, key_workspaces__workspace=workspace)
    return found.values_list("pk", flat=True).first() or 0


def _first_id(moment: datetime) -> UUID:
    """The smallest id of a request that began at a time: UUIDv7 begins with milliseconds."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return UUID(int=min(milliseconds, (1 << 48) - 1) << 80)


def _day(moment: datetime) -> date:
    return min(max(moment.date(), EARLIEST), LATEST)


def expected(*, workspace: Workspace, query: Mapping[str, Any]) -> int | None:
    """How many requests a filter finds, where the sums tell it; within a day at both ends."""
    if not COUNTABLE.issuperset(query):
        return None
    narrowed = {"model": query["model"]} if "model" in query else {}
    if "key_id" in query:
        narrowed["key_id"] = _key_id(workspace, query["key_id"])
    first = _day(query["since"]) if "since" in query else EARLIEST
    last = _day(query["until"]) if "until" in query else datetime.now(UTC).date() + CLOCKS_APART
    total = summaries.total(first=first, last=last, workspace_id=workspace.pk, **narrowed)
    return total.requests
