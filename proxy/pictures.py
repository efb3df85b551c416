"""
Which listed price a picture has: a size and quality of the price list, never "auto".

What a caller leaves open is held at the dearest and charged as what was made, where the
provider tells; what a caller names is charged as named.
"""

from __future__ import annotations

from typing import Final

import msgspec

from billing import pricing
from billing.pricing import ANY, Rates, Tokens, Unpriced
from proxy.wire.answers import Usage
from proxy.wire.call import Call

# What dall-e makes where nothing is asked; it never tells. The list says whether it is one:
# https://platform.openai.com/docs/api-reference/images/create
USUAL_SIZE: Final = "1024x1024"
USUAL_QUALITY: Final = "standard"


def asked(rates: Rates, call: Call) -> tuple[str, str]:
    """
    Return the size and quality that a picture is held at.

    :raises Unpriced: the list has no price for what was asked
    """
    size, quality = call.size, call.quality
    usual = USUAL_SIZE if size in ANY else size
    if quality in (*ANY, USUAL_QUALITY) and USUAL_QUALITY in (rates.image or {}).get(usual, {}):
        return usual, USUAL_QUALITY
    return dearest(rates, size, quality)


def made(rates: Rates, call: Call, usage: Usage) -> tuple[str, str]:
    """
    Return the size and quality that a picture is charged at.

    :raises Unpriced: the list has no price for what was asked
    """
    size = usage.size if call.size in ANY else call.size
    quality = usage.quality if call.quality in ANY else call.quality
    if quality in (rates.image or {}).get(size, {}):
        return size, quality
    try:
        told = dearest(rates, size, quality)
    except Unpriced:
        return asked(rates, call)
    return told if usage.size or usage.quality else asked(rates, call)


def dearest(rates: Rates, size: str, quality: str) -> tuple[str, str]:
    """
    Return the dearest listed size and quality that fit; open is "" or "auto".

    :raises Unpriced: none fits
    """
    fitting = [
        (pico, listed_size, listed_quality)
        for listed_size, by_quality in (rates.image or {}).items()
        for listed_quality, pico in by_quality.items()
        if size in (*ANY, listed_size) and quality in (*ANY, listed_quality)
    ]
    if not fitting:
        raise Unpriced(f"No price for a picture of size {size!r} and quality {quality!r}.")
    _, size, quality = max(fitting)
    return size, quality


def unpriced(rates: Rates, call: Call) -> str | None:
    """Return the parameter that the price list does not know, None where it knows all."""
    if not call.images or (not rates.image and rates.per_call is not None):
        return None
    for name, size, quality in (
        ("size", call.size, ""),
        ("quality", call.size, call.quality),
    ):
        try:
            dearest(rates, size, quality)
        except Unpriced:
            return name
    return None


def cost_nanos(rates: Rates, tokens: Tokens) -> int:
    """Return what a call costs us; a picture that the list lacks costs what its dearest does."""
    if tokens.pictures and not rates.image and rates.per_call is None:
        tokens = msgspec.structs.replace(tokens, pictures=0)
    try:
        return pricing.cost_nanos(rates=rates, tokens=tokens)
    except Unpriced:
        tokens = msgspec.structs.replace(tokens, size="", quality="")
        return pricing.cost_nanos(rates=rates, tokens=tokens)
