"""
Stripe Tax of a saved card's charge; on a page of Stripe it is added there.

A calculation is linked to the charge: Stripe records it as a tax transaction when the charge
succeeds, names the tax on its receipt, and takes each refund's part off again by itself.
"""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings

from billing.models_funding import SavedCard, TopUp
from billing.stripe.client import Body, Refused, connect, plain, refusals

NOWHERE: Final = "customer_tax_location_invalid"


def assess(*, top_up: TopUp, card: SavedCard, customer: str) -> None:
    """
    Ask once what tax is due, before the first attempt: the same charge has the same amount.

    :raises billing.stripe.client.Refused: nobody knows where the customer is
    """
    if settings.TAX_AT != "topup" or top_up.tax_calculation:
        return
    try:
        found = _calculate(top_up, "customer", {"customer": customer})
    except Refused as refusal:
        address = _address_of(card) if refusal.code == NOWHERE else None
        if address is None:
            raise
        where = {"address": address, "address_source": "billing"}
        found = _calculate(top_up, "card", {"customer_details": where})
    top_up.tax_cents = found["tax_amount_exclusive"]
    top_up.tax_calculation = found["id"]
    TopUp.objects.filter(pk=top_up.pk).update(
        tax_cents=top_up.tax_cents, tax_calculation=top_up.tax_calculation
    )


def link(top_up: TopUp) -> dict[str, Any]:
    """What a charge says of its tax; nothing where none was asked after."""
    if not top_up.tax_calculation:
        return {}
    return {"hooks": {"inputs": {"tax": {"calculation": top_up.tax_calculation}}}}


def _calculate(top_up: TopUp, by: str, who: dict[str, Any]) -> Body:
    line = {
        "amount": top_up.amount_cents,
        "reference": top_up.public_id,
        "tax_behavior": "exclusive",
    }
    wanted: dict[str, Any] = {"currency": "usd", "line_items": [line], **who}
    with refusals():
        made = connect().v1.tax.calculations.create(
            wanted,  # type: ignore[arg-type]  # a plain dict
            {"idempotency_key": f"{top_up.public_id}-tax-{by}"},
        )
    return plain(made)


def _address_of(card: SavedCard) -> Body | None:
    """The address that was given with a card, where it says a country."""
    with refusals():
        found = plain(connect().v1.payment_methods.retrieve(card.method_id))
    address = (found.get("billing_details") or {}).get("address") or {}
    said = {name: value for name, value in address.items() if value}
    return said if said.get("country") else None
