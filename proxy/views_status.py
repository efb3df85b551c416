"""The public status page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from proxy import status


@never_cache
@require_safe
def status_page(request: HttpRequest) -> HttpResponse:
    """What works now, when the books last balanced, what staff has to say."""
    return render(request, "public/status.html", {"status": status.read()})
