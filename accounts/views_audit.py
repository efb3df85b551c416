"""The audit log of the current workspace."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from accounts import selectors_team
from accounts.scopes import Scope
from accounts.seats import Seat, seated
from common import pagination
from common.pagination import Wanted

ROWS = 50
CURSOR = "dashboard.audit"


@require_safe
@seated
def audit_log(request: HttpRequest, seat: Seat) -> HttpResponse:
    """What was changed and by whom, the newest first."""
    seat.require(Scope.AUDIT_READ)
    given = {name: request.GET.get(name, "").strip()[:64] for name in ("action", "target")}
    query = {name: value for name, value in given.items() if value}
    cursor = request.GET.get("cursor")
    after = pagination.unseal(CURSOR, cursor) if cursor else None
    wanted = Wanted(limit=ROWS, after=after)
    page = selectors_team.events_of(workspace=seat.workspace, query=query, wanted=wanted)
    start = reverse("audit_log")
    context = {
        "events": page.rows,
        "given": given,
        "narrowed": bool(query),
        "query": query,
        "first": after is None,
        "start": f"{start}?{urlencode(query)}",
        "next": _next(start, query, page.next),
    }
    return render(request, "dashboard/team/audit.html", context)


def _next(start: str, query: dict[str, str], position: int | None) -> str:
    if position is None:
        return ""
    return f"{start}?{urlencode(query | {'cursor': pagination.seal(CURSOR, position)})}"
