"""Charging saved cards without their owner."""

from __future__ import annotations

from typing import Any

import structlog
from django.utils import timezone

from billing import autotopups
from billing.models_funding import SavedCard, TopUp
from billing.stripe import booking, checkout, customers, taxes
from billing.stripe.client import KEY_LASTS, Declined, Refused, connect, id_of, plain, refusals
from common.errors import ApiError

log = structlog.get_logger(__name__)


def charge(*, top_up: TopUp) -> None:
    """
    Charge a saved card and book what comes of it; made again it is the same charge.

    :raises billing.stripe.client.StripeError: what became of it is not known yet
    """
    top_up = TopUp.objects.select_related("workspace__tier", "card").get(pk=top_up.pk)
    if top_up.status != TopUp.Status.PENDING or top_up.card is None:
        return
    if timezone.now() - top_up.created_at > KEY_LASTS:
        _look_for(top_up)
        return
    if top_up.card.detached_at:
        autotopups.declined(top_up=top_up, why="card_removed")
        return
    try:
        checkout.make_room(top_up=top_up)
        intent_id = _charge(top_up, top_up.card)
    except ApiError:
        # A page was paid meanwhile that was open when the charge was asked for.
        autotopups.declined(top_up=top_up, why="daily_limit")
    except Declined as refusal:
        autotopups.declined(top_up=top_up, why=refusal.code)
    except Refused as refusal:
        if refusal.code == "key":
            # It says nothing of the card, which an earlier call may have charged.
            raise
        log.warning("A saved card could not be charged", code=refusal.code)
        autotopups.declined(top_up=top_up, why=refusal.code or "refused")
    else:
        booking.book_intent(intent_id)


def _charge(top_up: TopUp, card: SavedCard) -> str:
    customer = customers.ensure(workspace=top_up.workspace)
    taxes.assess(top_up=top_up, card=card, customer=customer)
    wanted: dict[str, Any] = {
        "amount": top_up.total_cents,
        "currency": "usd",
        "customer": customer,
        "payment_method": card.method_id,
        "off_session": True,
        "confirm": True,
        "metadata": checkout.marks(top_up),
        "description": "Prepaid credit",
    } | taxes.link(top_up)
    with refusals():
        made = connect().v1.payment_intents.create(
            wanted,  # type: ignore[arg-type]  # a plain dict
            {"idempotency_key": top_up.public_id},
        )
    return made.id


def _look_for(top_up: TopUp) -> None:
    """Find a charge whose key may be forgotten; making it again could charge twice."""
    with refusals():
        query = f"metadata['top_up']:'{top_up.public_id}'"
        found = plain(connect().v1.payment_intents.search({"query": query}))
    intents = found.get("data") or []
    if intents:
        booking.book_intent(id_of(intents[0]))
    else:
        autotopups.declined(top_up=top_up, why="expired")
