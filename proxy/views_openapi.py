"""The descriptions for programs, public, and the page that shows them to people."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def gateway(request: HttpRequest) -> HttpResponse:
    """Answer GET /openapi/gateway.json."""
    return _answer("gateway.json")


@require_safe
def management(request: HttpRequest) -> HttpResponse:
    """Answer GET /openapi/management.json."""
    return _answer("management.json")


@require_safe
def reference(request: HttpRequest) -> HttpResponse:
    """Show both in Swagger UI, from our own static files."""
    return render(request, "public/api_docs.html")


def _answer(name: str) -> HttpResponse:
    headers = {"Cache-Control": "public, max-age=300"}
    return HttpResponse(_document(name), content_type="application/json", headers=headers)


@cache
def _document(name: str) -> bytes:
    path = settings.BASE_DIR / "static" / "openapi" / name
    return bytes(path.read_bytes())
