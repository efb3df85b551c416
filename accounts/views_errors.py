"""Pages for what went wrong, each with the request id; and what browsers refused on any page."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import structlog
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.urls import Resolver404, resolve
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from msgspec import Struct

from common import tries
from common.errors import ApiError

log = structlog.get_logger(__name__)
# Of one address within an hour: whoever has a browser can send these, and anything else.
MOST_REPORTS: Final = 20
DIRECTIVE: Final = re.compile(r"[a-z-]{1,40}")
KEYWORD: Final = re.compile(r"[a-z-]{1,20}")


class Refusal(Struct, frozen=True, rename="kebab"):
    """What a browser says that it refused (Content Security Policy Level 3, 5.3)."""

    document_uri: str = ""
    effective_directive: str = ""
    violated_directive: str = ""
    blocked_uri: str = ""


class Report(Struct, frozen=True):
    """As a browser sends it."""

    refused: Refusal = msgspec.field(name="csp-report")


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


@csrf_exempt
@require_POST
def csp_report(request: HttpRequest) -> HttpResponse:
    """Write down what the Content-Security-Policy stopped: an attack, or a fault of ours."""
    refused = _refused(request.body)
    if refused and tries.note("csp-report") <= MOST_REPORTS:
        log.warning("A browser refused something on a page of ours", **refused)
    return HttpResponse(status=204)


def _refused(body: bytes) -> dict[str, str]:
    """What a report says, in words that can do no harm; nothing where it is none."""
    try:
        told = msgspec.json.decode(body, type=Report).refused
        directive = DIRECTIVE.match(told.effective_directive or told.violated_directive)
        if directive is None:
            return {}
        return {
            "directive": directive[0],
            "blocked": _origin(told.blocked_uri),
            "page": _view(told.document_uri),
        }
    except (ValueError, RecursionError):
        return {}


def _origin(blocked: str) -> str:
    # Never a whole address: the rest of it may be somebody's.
    parts = urlsplit(blocked)
    if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname:
        return f"{parts.scheme}://{parts.hostname[:100]}"
    return found[0] if (found := KEYWORD.match(blocked)) else "?"


def _view(document: str) -> str:
    # By its name: addresses of ours may hold the secret of an invitation.
    try:
        return resolve(urlsplit(document).path).view_name
    except Resolver404:
        return "?"


def _page(request: HttpRequest, template: str, *, status: int, exception: str = "") -> HttpResponse:
    # Without `request=`, no context processor runs: the page needs no database, no session.
    context: dict[str, Any] = {"request": request, "exception": exception}
    if getattr(request, "impersonation", None) is not None:
        # Here too there is the button that ends it.
        context["csrf_token"] = get_token(request)
    return HttpResponse(render_to_string(template, context), status=status)
