"""From nothing to the first answered call, with the person's own values."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from accounts import keys
from accounts.errors import Forbidden
from accounts.scopes import Scope
from accounts.seats import Seat, seated
from billing import ledger
from billing.selectors import TOK, USD
from proxy import selectors, snippets
from proxy.selectors_models import model_to_try


@require_http_methods(["GET", "HEAD", "POST"])
@seated
def quickstart(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The five steps; POST makes a key and shows it in its step and in the snippets."""
    secret = _chat_key(seat) if request.method == "POST" else None
    now = timezone.now()
    usd = ledger.balance(workspace_id=seat.workspace.pk, asset=USD)
    tokens = ledger.balance(workspace_id=seat.workspace.pk, asset=TOK)
    mine = keys.visible(workspace=seat.workspace, by=seat.user).filter(user=seat.user)
    context = {
        "usd": usd,
        "tokens": tokens,
        "funded": usd.available > 0 or tokens.available > 0,
        "has_key": mine.exists(),
        "may_create": seat.verified and seat.makes_keys,
        "secret": secret,
        "saved_url": request.path,
        "key": secret or snippets.placeholder(),
        "base_url": snippets.base_url(),
        "model": model_to_try(now=now),
        "snippets": snippets.SNIPPETS,
        "first_request": selectors.first_request_id(
            workspace_id=seat.workspace.pk, today=now.date()
        ),
    }
    return render(request, "dashboard/quickstart.html", context)


def _chat_key(seat: Seat) -> str:
    try:
        _key, secret = keys.create(
            name=_("Quickstart"),
            workspaces=[seat.workspace],
            by=seat.user,
            user=seat.user,
            scopes=[Scope.CHAT, Scope.MODELS_READ],
        )
    except Forbidden as refusal:
        raise PermissionDenied(refusal.message) from None
    return secret


@require_safe
@seated
def first_request(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The last step alone: asked again every two seconds until a call was answered."""
    found = selectors.first_request_id(workspace_id=seat.workspace.pk, today=timezone.now().date())
    return render(request, "dashboard/first_request.html", {"first_request": found})
