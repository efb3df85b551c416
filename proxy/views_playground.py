"""Try a model in the browser: through the same gateway and the same bill as any other caller."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import keys, scopes
from accounts.errors import Refused
from accounts.models import ApiKey
from accounts.scopes import Scope
from accounts.seats import Seat, seated
from proxy import snippets
from proxy.models import Model
from proxy.selectors_models import models_for_sale

# Long enough for a run; a page that is left open asks for another.
KEY_LIVES_FOR: Final = timedelta(minutes=20)
MAY_RUN: Final = (Scope.CHAT, Scope.IMAGES)


@require_safe
@seated
def playground(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The page; its script asks for a key when something is run."""
    rows = models_for_sale(now=timezone.now())
    chats = [row for row in rows if row.kind == Model.Kind.CHAT]
    pictures = [row for row in rows if row.kind == Model.Kind.IMAGE and row.images]
    context = {
        "may_run": seat.verified and Scope.CHAT in scopes.of_role(seat.role),
        "chats": chats,
        "pictures": pictures,
        "chosen": request.GET.get("model", ""),
        "sizes": sorted({size for row in pictures for size, _quality, _usd in row.images}),
        "qualities": sorted({quality for row in pictures for _size, quality, _usd in row.images}),
        "base_url": snippets.base_url(),
        "placeholder": snippets.placeholder(),
    }
    return render(request, "dashboard/playground.html", context)


@never_cache
@require_POST
@seated
def playground_key(request: HttpRequest, seat: Seat) -> HttpResponse:
    """A key for this workspace that soon ends, for the page that asked."""
    granted = [scope for scope in MAY_RUN if seat.may(scope)]
    expires_at = timezone.now() + KEY_LIVES_FOR
    try:
        _key, text = keys.create(
            name="Playground",
            workspaces=[seat.workspace],
            by=seat.user,
            user=seat.user,
            scopes=granted,
            expires_at=expires_at,
            kind=ApiKey.Kind.PLAYGROUND,
        )
    except Refused as refusal:
        return JsonResponse({"error": {"message": refusal.message}}, status=refusal.status)
    return JsonResponse({"key": text, "lives_s": int(KEY_LIVES_FOR.total_seconds())})
