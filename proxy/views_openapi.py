"""The descriptions for programs, public, and the page that shows them to people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

GATEWAY: Final = "gateway.json"
MANAGEMENT: Final = "management.json"


@dataclass(frozen=True, slots=True)
class Listed:
    """One operation of a document, in a line."""

    method: str
    path: str
    summary: str


@require_safe
def gateway(request: HttpRequest) -> HttpResponse:
    """Answer GET /openapi/gateway.json."""
    return _answer(GATEWAY)


@require_safe
def management(request: HttpRequest) -> HttpResponse:
    """Answer GET /openapi/management.json."""
    return _answer(MANAGEMENT)


@require_safe
def reference(request: HttpRequest) -> HttpResponse:
    """List what both describe; Swagger UI, from our own static files, comes when asked for."""
    shown = {"gateway": _operations(GATEWAY), "management": _operations(MANAGEMENT)}
    return render(request, "public/api_docs.html", shown)


def _answer(name: str) -> HttpResponse:
    headers = {"Cache-Control": "public, max-age=300"}
    return HttpResponse(_document(name), content_type="application/json", headers=headers)


@cache
def _operations(name: str) -> list[Listed]:
    return list(_read(json.loads(_document(name))["paths"]))


def _read(paths: dict[str, dict[str, dict[str, str]]]) -> Iterator[Listed]:
    for path, methods in paths.items():
        for method, told in methods.items():
            yield Listed(method.upper(), path, told["summary"].rstrip("."))


@cache
def _document(name: str) -> bytes:
    path = settings.BASE_DIR / "static" / "openapi" / name
    return bytes(path.read_bytes())
