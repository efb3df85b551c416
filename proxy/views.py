"""The Overview: what there is, what was spent, what was asked last."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.seats import Seat, seated
from billing import selectors as billing_selectors
from proxy import selectors
from proxy.charts import spend_chart


@require_GET
@seated
def overview(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Balance, caps, spend and the last requests of the current workspace."""
    now = timezone.now()
    sums = billing_selectors.sums(workspace_id=seat.workspace.pk, now=now)
    context = {
        "sums": sums,
        "banners": sums.banners(),
        "chart": spend_chart(days=sums.days),
        "requests": selectors.last_requests(workspace_id=seat.workspace.pk, today=now.date()),
    }
    return render(request, "dashboard/overview.html", context)
