"""The gateway's description for programs, public."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe


@require_safe
def gateway(request: HttpRequest) -> HttpResponse:
    """Answer GET /openapi/gateway.json."""
    headers = {"Cache-Control": "public, max-age=300"}
    return HttpResponse(_document(), content_type="application/json", headers=headers)


@cache
def _document() -> bytes:
    path = settings.BASE_DIR / "static" / "openapi" / "gateway.json"
    return bytes(path.read_bytes())
