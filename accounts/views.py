"""The public front page, and the switches between workspaces and between languages."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST
from django.views.i18n import set_language

from accounts import impersonation, profiles, seats
from accounts.models import User
from accounts.seats import Seat, seated


@require_GET
def landing(request: HttpRequest) -> HttpResponse:
    """What this is, in one screen."""
    return render(request, "public/landing.html")


@require_POST
@seated
def switch_workspace(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show another workspace of the person; 404 for one that is not theirs."""
    seats.choose(request, public_id=request.POST.get("workspace", ""))
    return redirect(_local(request, request.POST.get("next", "")))


@require_POST
def choose_language(request: HttpRequest) -> HttpResponse:
    """Go back in another language, which the browser keeps and, of people we know, we keep too."""
    chosen = request.POST.get("language", "")
    if isinstance(request.user, User) and chosen in dict(settings.LANGUAGES):
        profiles.change(user=request.user, given={"language": chosen})
    return set_language(request)


@require_POST
def stop_impersonation(request: HttpRequest) -> HttpResponse:
    """End a look as a customer, and go back to where it began."""
    look = impersonation.stop(request=request)
    if look is None:
        return redirect("landing")
    return redirect("admin:accounts_user_change", look.customer_id)


def _local(request: HttpRequest, address: str) -> str:
    """The section of the dashboard that the address is in, else the Overview."""
    ours = address.startswith("/dashboard/") and url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    # What is deeper than a section may belong to the workspace that was left.
    return "/".join(address.split("/")[:3]) if ours else reverse("overview")
