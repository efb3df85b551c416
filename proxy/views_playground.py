"""Try a model in the browser: through the same gateway and the same bill as any other caller."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
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
# What the gateway refuses on this page, by reason, and what to do about it here.
REFUSALS: Final = {
    "insufficient_balance": _(
        "The balance does not cover the longest answer this may get."
        " Add credit, or allow fewer tokens."
    ),
    "balance_reserved": _("Running calls hold the balance. Try again in a moment."),
    "cap_reached": _("A spending cap is reached. Raise it, or wait until it begins anew."),
    "cap_reserved": _("Running calls hold what a cap leaves. Try again in a moment."),
    "rate_limited": _("Too many requests or tokens in a minute. Try again in a moment."),
    "workspace_frozen": _("The workspace is frozen; ask the operator."),
    "content_filter": _("The provider refused the content under its policy. Change it."),
    "context_length_exceeded": _("This is longer than the model takes. Shorten it."),
    "model_not_found": _("This model is not for sale now. Choose another one."),
    "upstream_failed": _("The provider failed. Nothing was charged; try again."),
    "upstream_timeout": _("The provider did not answer in time. Nothing was charged; try again."),
    "stream_interrupted": _("The provider broke off. What had arrived is charged."),
    "store_unavailable": _("Something is down on our side. Nothing was charged; try again."),
    "internal": _("Something broke on our side. Nothing was charged; try again."),
}


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
        "refusals": _told(seat),
    }
    return render(request, "dashboard/playground.html", context)


def _told(seat: Seat) -> dict[str, dict[str, str]]:
    """What to say of each reason; with it a link, where there is something to do on a page."""
    told = {reason: {"text": str(words)} for reason, words in REFUSALS.items()}
    if seat.pays:
        told["insufficient_balance"] |= {
            "action": gettext("Add credit"),
            "href": reverse("billing"),
        }
        told["cap_reached"] |= {"action": gettext("Change caps"), "href": reverse("limits")}
    else:
        told["insufficient_balance"] = {
            "text": gettext(
                "The balance does not cover the longest answer this may get."
                " Allow fewer tokens, or ask an owner, an admin or billing to add credit."
            )
        }
        told["cap_reached"] = {
            "text": gettext(
                "A spending cap is reached. Wait until it begins anew,"
                " or ask an owner, an admin or billing to raise it."
            )
        }
    return told


@never_cache
@require_POST
@seated
def playground_key(request: HttpRequest, seat: Seat) -> HttpResponse:
    """A key for this workspace that soon ends, for the page that asked."""
    granted = [scope for scope in MAY_RUN if seat.may(scope)]
    expires_at = timezone.now() + KEY_LIVES_FOR
    try:
        _key, text = keys.create(
            name=str(_("Playground")),
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
