"""Where Stripe tells what happened. It is answered when the event is stored, not when booked."""

from __future__ import annotations

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing import queue
from billing.stripe import events

log = structlog.get_logger(__name__)


@csrf_exempt
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Verify and store one event."""
    if not settings.STRIPE_WEBHOOK_SECRETS:
        return JsonResponse({"error": "Stripe is not set up here."}, status=404)
    signature = request.headers.get("stripe-signature", "")
    try:
        fresh = events.receive(body=request.body, signature=signature)
    except events.Forged as refusal:
        log.warning("A webhook was refused", why=str(refusal))
        return JsonResponse({"error": str(refusal)}, status=400)
    if fresh is not None:
        queue.after_commit("book_stripe_event", fresh.pk)
    return JsonResponse({"received": True})
