"""Saved cards, and where a person changes what the processor of payments keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from rest_framework import serializers

from accounts.api import Call, Endpoint, Page, needs, operation
from accounts.errors import Invalid, Missing
from accounts.scopes import Scope
from billing import topups
from billing.models_funding import SavedCard
from billing.stripe.client import StripeError
from common import pagination
from common.errors import ApiError, retry_headers

log = structlog.get_logger(__name__)

Found = TypeVar("Found")
READ = needs(Scope.BILLING_READ)
MANAGE = needs(Scope.BILLING_MANAGE)


class CardSerializer(serializers.Serializer[Any]):
    """A saved card."""

    id = serializers.CharField(source="public_id")
    brand = serializers.CharField()
    last4 = serializers.CharField()
    exp_month = serializers.IntegerField()
    exp_year = serializers.IntegerField()


class PlaceSerializer(serializers.Serializer[Any]):
    """A page of the processor of payments."""

    url = serializers.CharField(help_text="For a person's browser, within some minutes.")


class CardsView(Endpoint):
    """``/cards``"""

    @operation(name="list_cards", access=READ, answer=CardSerializer, paged=True)
    def get(self, call: Call) -> Page:
        """The workspace's saved cards, the newest first."""
        rows = SavedCard.objects.filter(workspace=call.workspace, detached_at=None)
        return Page(*pagination.by_id(rows, call.page))

    @operation(
        name="create_card_page", access=MANAGE, answer=PlaceSerializer, status=201, outside=True
    )
    def post(self, call: Call) -> dict[str, str]:
        """Where a person saves a card without a payment: no card's number comes here."""
        topups.require_verified(call.by)
        return {"url": _ask(lambda: topups.processor().save_card(workspace=call.workspace))}


class CardView(Endpoint):
    """``/cards/{card_id}``"""

    @operation(name="delete_card", access=MANAGE, status=204, outside=True)
    def delete(self, call: Call, card_id: str) -> None:
        """Never charge a card again; automatic top-ups by it stop."""
        cards = SavedCard.objects.filter(workspace=call.workspace, detached_at=None)
        card = cards.filter(public_id=card_id).first()
        if card is None:
            raise Missing("There is no saved card of that id here.")
        _ask(lambda: topups.processor().forget_card(card=card, by=call.by))


class BillingPortalView(Endpoint):
    """``/billing-portal``"""

    @operation(
        name="create_billing_portal_page",
        access=MANAGE,
        answer=PlaceSerializer,
        status=201,
        outside=True,
    )
    def post(self, call: Call) -> dict[str, str]:
        """Where a person finds invoices and changes billing address and VAT id."""
        return {"url": _ask(lambda: topups.processor().portal(workspace=call.workspace))}


def _ask(act: Callable[[], Found]) -> Found:
    if missing := topups.processor().missing():
        raise Invalid(f"Cards are not taken here. {missing}")
    try:
        return act()
    except StripeError as error:
        log.warning("The payment service did not do it", why=str(error))
        raise ApiError(
            "payments_unavailable",
            "The payment service cannot be reached. Try again in a minute.",
            headers=retry_headers(after_ms=60_000),
        ) from None
