"""Pages for what went wrong; each carries the request id."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.csrf import csrf_exempt

from common.errors import ApiError


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400: the address or the form is not as it should be."""
    return _page(request, "400.html", status=400)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: the role does not allow it."""
    words = str(exception) if isinstance(exception, PermissionDenied) else ""
    return _page(request, "403.html", status=403, exception=words)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: the form did not come from a page of ours, or from a very old one."""
    return _page(request, "403_csrf.html", status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404: no such page, or not one of the person's."""
    return _page(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """500: our fault."""
    return _page(request, "500.html", status=500)


@csrf_exempt
def no_such_endpoint(request: HttpRequest) -> HttpResponse:
    """404 in JSON: the management API has no such endpoint."""
    error = ApiError("not_found", f"There is no endpoint {request.method} {request.path[:200]}.")
    return HttpResponse(error.body(), status=error.status, content_type="application/json")


def _page(request: HttpRequest, template: str, *, status: int, exception: str = "") -> HttpResponse:
    # Without `request=`, no context processor runs: the page needs no database, no session.
    context = {"request": request, "exception": exception}
    return HttpResponse(render_to_string(template, context), status=status)
