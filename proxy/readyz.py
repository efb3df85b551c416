"""
Whether this process can serve, for load balancers; the reasons, for staff.

What all processes share takes all of them out at once when it fails, although each still answers:
calls go on without Redis, and without PostgreSQL they are told when to come again. A load balancer
that is to tell processes apart leaves it out: ``/readyz?exclude=redis&exclude=database``.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from proxy import health

NEEDED = ("database", "redis", "migrations")
# Customers notice nothing for a while when these fail; staff should.
WATCHED = ("partitions", "worker", "beat", "spool")


def report(*, details: bool, besides: Container[str] = ()) -> dict[str, Any]:
    """Return whether we are ready; with ``details`` also each check and what is only watched."""
    lines = health.check_all(name for name in NEEDED if name not in besides)
    ready = all(line.ok for line in lines)
    answer: dict[str, Any] = {"status": "ok" if ready else "unready"}
    if details:
        lines += health.check_all(WATCHED)
        answer["checks"] = {
            line.name: {"ok": line.ok, "message": line.message, "todo": line.todo} for line in lines
        }
    return answer


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer GET /readyz: 200 or 503; 400 where a check is left out that is none."""
    besides = request.GET.getlist("exclude")
    if unknown := sorted(set(besides) - set(NEEDED)):
        problem = f"exclude is {', '.join(NEEDED)}; not {', '.join(unknown)[:100]}."
        return JsonResponse({"status": "unknown", "problem": problem}, status=400)
    answer = report(details=_is_staff(request), besides=besides)
    response = JsonResponse(answer, status=200 if answer["status"] == "ok" else 503)
    response["Cache-Control"] = "no-store"
    return response


def _is_staff(request: HttpRequest) -> bool:
    try:
        return bool(request.user.is_active and request.user.is_staff)
    except DatabaseError:
        return False
