"""The documentation, for everybody."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_safe

from proxy import manual


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Begin at the beginning."""
    return redirect("chapter", next(iter(manual.CHAPTERS)))


@require_safe
def chapter(request: HttpRequest, slug: str) -> HttpResponse:
    """One page."""
    found = manual.chapter(slug)
    if found is None:
        raise Http404
    context = {
        "chapter": found,
        # Our own files, rendered with tags escaped.
        "text": mark_safe(found.html),  # noqa: S308
        "chapters": manual.CHAPTERS.items(),
    }
    return render(request, "public/docs.html", context)
