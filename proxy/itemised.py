"""The price of one call in its parts, as its receipt shows them: count, unit price, amount."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _

from accounts.templatetags.show import grouped
from billing import pricing
from billing.pricing import Rates
from common import money
from proxy.receipts import Price, Receipt

PER_MILLION: Final = 10**6


@dataclass(frozen=True, slots=True)
class Item:
    """One part of a price, in exact dollars."""

    label: str
    count: int
    unit: str
    amount: str


def items(receipt: Receipt) -> list[Item]:
    """What was counted at a price; a part that was not used is left out."""
    if receipt.price is None or receipt.state == "pending":
        return []
    rates = _rates(receipt.price)
    per_million = _("per million tokens")
    tokens = [
        (_("Input tokens"), receipt.input_tokens, rates.prompt),
        (_("Cached input tokens"), receipt.cached_tokens, rates.cached),
        (_("Tokens written to the cache"), receipt.cache_write_tokens, rates.written),
        (_("Output tokens"), receipt.output_tokens, rates.completion),
    ]
    found = [
        Item(
            label, count, f"${grouped(_usd(pico * PER_MILLION))} {per_million}", _usd(count * pico)
        )
        for label, count, pico in tokens
        if count
    ]
    return found + [_piece(*part) for part in _pieces(receipt, rates) if part[1]]


def _pieces(receipt: Receipt, rates: Rates) -> list[tuple[str, int, int]]:
    calls = 1 if rates.per_call and receipt.cost else 0
    found = [
        (_("Calls"), calls, rates.per_call or 0),
        (_("Web searches"), receipt.searches, rates.web_search or 0),
    ]
    if receipt.pictures and rates.image:
        # The size and quality that were priced; what is open costs what the dearest costs.
        price = pricing.picture_picos(
            rates=rates, size=receipt.picture_size, quality=receipt.picture_quality
        )
        found.append((_("Images"), receipt.pictures, price))
    elif receipt.pictures:
        found[0] = (_("Images"), receipt.pictures, rates.per_call or 0)
    return found


def _piece(label: str, count: int, pico: int) -> Item:
    return Item(label, count, f"${grouped(_usd(pico))}", _usd(count * pico))


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


def _usd(pico: int) -> str:
    return money.usd_from_pico(pico, at_least=6)
