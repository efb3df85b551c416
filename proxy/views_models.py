"""The public list of models and prices, for people and for programs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from proxy.selectors_models import models_for_sale


@require_GET
def models(request: HttpRequest) -> HttpResponse:
    """All models that are for sale, with their prices."""
    rows = models_for_sale(now=timezone.now())
    return render(request, "public/models.html", {"models": rows})


@require_GET
def models_json(request: HttpRequest) -> HttpResponse:
    """The same as JSON."""
    rows = models_for_sale(now=timezone.now())
    return JsonResponse({"data": [row.twin() for row in rows]})
