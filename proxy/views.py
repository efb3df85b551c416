"""The Overview: what there is, what was spent, what was asked last."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts import seats
from accounts.seats import Seat, seated
from billing import breakdowns
from billing import selectors as billing_selectors
from proxy import selectors
from proxy.selectors_keys import ending_keys
from proxy.timeseries import MEASURES, series

USUAL = "cost"


@require_GET
@seated
def overview(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Balance, caps, spend and the last requests of the current workspace."""
    now = timezone.now()
    sums = billing_selectors.sums(workspace_id=seat.workspace.pk, now=now)
    week = partial(breakdowns.top, first=now.date() - timedelta(days=6), last=now.date())
    month = breakdowns.read(
        workspaces=[seat.workspace],
        by="model",
        first=now.date() - timedelta(days=billing_selectors.DAYS_SHOWN - 1),
        last=now.date(),
    )
    measure = MEASURES.get(request.GET.get("show", ""), MEASURES[USUAL])
    models, keys = (week(workspace=seat.workspace, by=by) for by in ("model", "key"))
    context = {
        "top_models": models,
        "top_models_digits": breakdowns.digits(models),
        "top_keys": keys,
        "top_keys_digits": breakdowns.digits(keys),
        "ending": ending_keys(seat=seat, seats=seats.seats(request), now=now),
        "sums": sums,
        "banners": sums.banners(),
        "chart": series(breakdown=month, measure=measure) if month.lines else None,
        "measures": MEASURES.values(),
        "requests": selectors.last_requests(workspace_id=seat.workspace.pk, today=now.date()),
    }
    return render(request, "dashboard/overview.html", context)
