"""Caps of the workspace and of its keys, rates, and when to be told."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import keys, seats
from accounts.outcomes import attempt
from accounts.scopes import Scope
from accounts.seats import Seat, seated
from billing import alerts, limits, selectors_limits
from billing.forms import AlertForm, CapsForm, WorkspaceCapsForm
from common import pagination
from common.pagination import Page, Wanted

KEYS_SHOWN: Final = 25
CURSOR: Final = "dashboard.limits"


@require_safe
@seated
def limits_page(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The page."""
    return _page(request, seat)


@require_POST
@seated
def set_workspace_caps(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Set what the workspace may spend."""
    seat.require(Scope.BILLING_MANAGE)
    form = WorkspaceCapsForm(request.POST, tier=seat.workspace.tier)
    if not form.is_valid():
        return _page(request, seat, caps_form=form)
    attempt(
        request,
        _("The caps are set. Requests that run now are not touched."),
        limits.set_workspace_caps,
        workspace=seat.workspace,
        by=seat.user,
        **form.cleaned_data,
    )
    return redirect("limits")


@require_POST
@seated
def set_key_caps(request: HttpRequest, seat: Seat, public_id: str) -> HttpResponse:
    """Set what one key may spend."""
    key = keys.visible(workspace=seat.workspace, by=seat.user).filter(public_id=public_id).first()
    if key is None:
        raise Http404
    form = CapsForm(request.POST, prefix=public_id)
    if form.is_valid():
        done = _("The caps of the key are set.")
        attempt(request, done, limits.set_key_caps, key=key, by=seat.user, **form.cleaned_data)
        return redirect("limits")
    for errors in form.errors.values():
        messages.error(request, " ".join(str(error) for error in errors))
    return redirect("limits")


@require_POST
@seated
def set_alerts(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Set below which balance people are told."""
    seat.require(Scope.BILLING_MANAGE)
    form = AlertForm(request.POST)
    if not form.is_valid():
        return _page(request, seat, alert_form=form)
    nanos = form.cleaned_data["low_balance"]
    alerts.set_low_balance(workspace=seat.workspace, nanos=nanos, by=seat.user)
    messages.success(request, _("Saved."))
    return redirect("limits")


def _page(request: HttpRequest, seat: Seat, **wrong: CapsForm | AlertForm) -> HttpResponse:
    today = timezone.now().date()
    window = selectors_limits.of_workspace(workspace=seat.workspace, today=today)
    cursor = request.GET.get("cursor")
    after = pagination.unseal(CURSOR, cursor) if cursor else None
    page = selectors_limits.of_keys(
        seat=seat, seats=seats.seats(request), today=today, wanted=Wanted(KEYS_SHOWN, after)
    )
    known = alerts.low_balance_nanos(workspace=seat.workspace)
    caps = {"daily": window.day.limit, "monthly": window.month.limit}
    context: dict[str, Any] = {
        "window": window,
        "tier": seat.workspace.tier,
        "keys": [(row, _key_form(row)) for row in page.rows],
        "first": after is None,
        "start": reverse("limits"),
        "next": _next(page),
        "may_manage": seat.may(Scope.BILLING_MANAGE),
        "low_balance": known,
        "caps_form": WorkspaceCapsForm(initial=caps, tier=seat.workspace.tier),
        "alert_form": AlertForm(initial={"low_balance": known}),
        **wrong,
    }
    return render(request, "dashboard/limits/page.html", context, status=400 if wrong else 200)


def _next(page: Page) -> str:
    if page.next is None:
        return ""
    return f"{reverse('limits')}?cursor={pagination.seal(CURSOR, page.next)}"


def _key_form(row: selectors_limits.KeyLimits) -> CapsForm | None:
    if not row.may_change:
        return None
    initial = {"daily": row.window.day.limit, "monthly": row.window.month.limit}
    return CapsForm(initial=initial, prefix=row.key.public_id)
