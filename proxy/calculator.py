"""What a call would cost: by the function that charges, at the price that is in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing import prices, pricing
from billing.models import Price
from billing.pricing import Rates, Tokens
from proxy import itemised
from proxy.itemised import Item
from proxy.selectors_models import on_sale


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be bought, and its price now."""

    slug: str
    kind: str
    rates: Rates

    @property
    def picture_sizes(self) -> list[str]:
        """The sizes of pictures that are priced."""
        return sorted(self.rates.image or {})

    @property
    def picture_qualities(self) -> list[str]:
        """The qualities of pictures that are priced, of any size."""
        return sorted({each for row in (self.rates.image or {}).values() for each in row})


@dataclass(frozen=True, slots=True)
class Quote:
    """The exact price of one call in nano-dollars, and its parts."""

    offer: Offer
    nanos: int
    items: Sequence[Item]


def offers(*, now: datetime) -> dict[str, Offer]:
    """Every model that is for sale, by slug."""
    models = {model.slug: model for model in on_sale()}
    rates = prices.all_rates_at(now=now, subjects=models)
    found = ((slug, rates.get((slug, Price.Role.RETAIL))) for slug in models)
    return {slug: Offer(slug, models[slug].kind, price.rates) for slug, price in found if price}


def quote(*, offer: Offer, tokens: Tokens) -> Quote:
    """
    Price one call.

    :raises billing.pricing.Unpriced: no price for pictures of this size and quality
    """
    nanos = pricing.cost_nanos(rates=offer.rates, tokens=tokens)
    return Quote(offer, nanos, itemised.priced(rates=offer.rates, tokens=tokens))
