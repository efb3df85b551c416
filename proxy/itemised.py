"""The price of one call in its parts, as its receipt shows them: count, unit price, amount."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _

from billing import pricing
from billing.pricing import Rates, Tokens
from common import money
from proxy.receipts import Price, Receipt

PER_MILLION: Final = 10**6


@dataclass(frozen=True, slots=True)
class Item:
    """One part of a price, in exact dollars."""

    label: str
    count: int
    price: str
    per: str
    amount: str


def items(receipt: Receipt) -> list[Item]:
    """What was counted at a price; a part that was not used is left out."""
    if receipt.price is None or receipt.state == "pending":
        return []
    tokens = Tokens(
        input=receipt.input_tokens,
        cached=receipt.cached_tokens,
        cache_write=receipt.cache_write_tokens,
        output=receipt.output_tokens,
        pictures=receipt.pictures,
        searches=receipt.searches,
        size=receipt.picture_size,
        quality=receipt.picture_quality,
    )
    return priced(rates=_rates(receipt.price), tokens=tokens, called=bool(receipt.cost))


def priced(*, rates: Rates, tokens: Tokens, called: bool = True) -> list[Item]:
    """
    What counts how much of a price; a part that is not used is left out.

    :raises billing.pricing.Unpriced: no price for pictures of this size and quality
    """
    per_million = _("per million tokens")
    parts = [
        (_("Input tokens"), tokens.input, rates.prompt),
        (_("Cached input tokens"), tokens.cached, rates.cached),
        (_("Tokens written to the cache"), tokens.cache_write, rates.written),
        (_("Output tokens"), tokens.output, rates.completion),
    ]
    found = [(*part, PER_MILLION, per_million) for part in parts]
    found += [(*part, 1, "") for part in _pieces(tokens, rates, called)]
    used = [part for part in found if part[1]]
    # Each column has the decimals that its finest number needs.
    prices = money.decimals((pico * unit for _l, _c, pico, unit, _p in used), finest=12)
    amounts = money.decimals((count * pico for _l, count, pico, _u, _p in used), finest=12)
    return [
        Item(label, count, _usd(pico * unit, prices), per, _usd(count * pico, amounts))
        for label, count, pico, unit, per in used
    ]


def _pieces(tokens: Tokens, rates: Rates, called: bool) -> list[tuple[str, int, int]]:
    calls = 1 if rates.per_call and called else 0
    found = [
        (_("Calls"), calls, rates.per_call or 0),
        (_("Web searches"), tokens.searches, rates.web_search or 0),
    ]
    if tokens.pictures and rates.image:
        # The size and quality that were priced; what is open costs what the dearest costs.
        price = pricing.picture_picos(rates=rates, size=tokens.size, quality=tokens.quality)
        found.append((_("Images"), tokens.pictures, price))
    elif tokens.pictures:
        found[0] = (_("Images"), tokens.pictures, rates.per_call or 0)
    return found


def _rates(price: Price) -> Rates:
    return Rates(
        prompt=price.prompt,
        completion=price.completion,
        cached_prompt=price.cached_prompt,
        cache_write=price.cache_write,
        per_call=price.per_call,
        web_search=price.web_search,
        image=price.image,
    )


def _usd(pico: int, digits: int) -> str:
    return money.usd_from_pico(pico, at_least=digits)
