"""The operator's legal texts."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_safe

from accounts import legal
from common import markdown


@require_safe
def legal_text(request: HttpRequest, name: str) -> HttpResponse:
    """One text."""
    text = legal.read(name=name)
    if text is None:
        raise Http404
    # The operator's own file, rendered with tags escaped.
    body = mark_safe(markdown.html(text.markdown))  # noqa: S308
    context = {"text": text, "body": body, "most_prompt_days": settings.PROMPT_LOG_MAX_DAYS}
    return render(request, "public/legal.html", context)
