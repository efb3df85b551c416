"""The page behind the link of an invitation."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import invitations, seats
from accounts.errors import Refused
from accounts.models import User
from accounts.scopes import Role


@never_cache
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Say where the link leads; join when asked to."""
    try:
        if request.method == "POST" and isinstance(request.user, User):
            joined = invitations.accept(token=token, user=request.user)
            request.session[seats.SESSION_KEY] = joined.workspace.public_id
            messages.success(request, _("You have joined the workspace."))
            return redirect("overview")
        found = invitations.by_token(token=token, now=timezone.now())
    except Refused as refusal:
        return _page(request, {"refusal": refusal.message}, status=refusal.status)
    return _page(
        request, {"invitation": found, "role": seats.role_name(Role(found.role))}, status=200
    )


def _page(request: HttpRequest, context: dict[str, Any], *, status: int) -> HttpResponse:
    response = render(request, "public/invitation.html", context, status=status)
    # The address is the secret: it goes to no other site. With "no-referrer" a browser would hide
    # from us as well where the form came from, and be refused.
    response["Referrer-Policy"] = "same-origin"
    return response
