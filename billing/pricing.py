"""
What a call costs: pure, exact, rounded once.

Prices are integer pico-dollars per token or piece; a cost is their exact sum, rounded up
once to a nano-dollar. A hold is the same sum over the worst case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, structs

from common.money import PICOS_PER_NANO, ceil_div

# What a free completion can buy: more than any model has, small enough for an int32.
UNBOUNDED_TOKENS: Final = 2**31 - 1
ANY: Final = ("", "auto")


class Unpriced(LookupError):
    """The price list has no price for a picture of this size and quality."""


class Rates(Struct, frozen=True, kw_only=True):
    """A price version, in pico-dollars; what is None costs what a prompt token costs, or 0."""

    prompt: int = 0
    completion: int = 0
    cached_prompt: int | None = None
    cache_write: int | None = None
    per_call: int | None = None
    web_search: int | None = None
    image: Mapping[str, Mapping[str, int]] | None = None

    @property
    def cached(self) -> int:
        """A prompt token read from the provider's cache."""
        return self.prompt if self.cached_prompt is None else self.cached_prompt

    @property
    def written(self) -> int:
        """A prompt token written to the provider's cache."""
        return self.prompt if self.cache_write is None else self.cache_write


class Tokens(Struct, frozen=True, kw_only=True):
    """What a call used. `input` is not cached; `reasoning` is a part of `output`."""

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    pictures: int = 0
    searches: int = 0
    size: str = ""
    quality: str = ""


def cost_nanos(*, rates: Rates, tokens: Tokens) -> int:
    """
    Return the price of a call in nano-dollars: an exact sum, rounded up once.

    :raises Unpriced: no price for pictures of this size and quality
    """
    picos = (
        tokens.input * rates.prompt
        + tokens.cached * rates.cached
        + tokens.cache_write * rates.written
        + tokens.output * rates.completion
        + tokens.searches * (rates.web_search or 0)
        + (rates.per_call or 0)
    )
    if tokens.pictures:
        picos += _pictures_picos(rates, tokens.pictures, tokens.size, tokens.quality)
    return ceil_div(picos, PICOS_PER_NANO)


def _pictures_picos(rates: Rates, pictures: int, size: str, quality: str) -> int:
    """
    Return the price of pictures; without a list of them each one is a call, the first is paid.

    :raises Unpriced: no price for pictures of this size and quality
    """
    if not rates.image and rates.per_call is not None:
        return (pictures - 1) * rates.per_call
    return pictures * picture_picos(rates=rates, size=size, quality=quality)


def picture_picos(*, rates: Rates, size: str, quality: str) -> int:
    """
    Return the price of one picture; where size or quality is open, that of the dearest.

    :raises Unpriced: no price for this size and quality
    """
    prices = [
        price
        for listed_size, by_quality in (rates.image or {}).items()
        for listed_quality, price in by_quality.items()
        if size in (*ANY, listed_size) and quality in (*ANY, listed_quality)
    ]
    if not prices:
        raise Unpriced(f"No price for a picture of size {size!r} and quality {quality!r}.")
    return max(prices)


def worst_nanos(
    *,
    rates: Rates,
    prompt_tokens: int = 0,
    output_tokens: int = 0,
    pictures: int = 0,
    size: str = "",
    quality: str = "",
    searches: int = 0,
) -> int:
    """
    Return the most that a call within these bounds can cost: the amount of its hold.

    :raises Unpriced: no price for pictures of this size and quality
    """
    picos = _worst_prompt_picos(rates=rates, prompt_tokens=prompt_tokens)
    picos += output_tokens * rates.completion + searches * (rates.web_search or 0)
    if pictures:
        picos += _pictures_picos(rates, pictures, size, quality)
    return ceil_div(picos, PICOS_PER_NANO)


def affordable_output(*, rates: Rates, prompt_tokens: int, nanos: int, searches: int = 0) -> int:
    """Return the most output tokens for which `worst_nanos` stays within an amount."""
    left = nanos * PICOS_PER_NANO - _worst_prompt_picos(rates=rates, prompt_tokens=prompt_tokens)
    left -= searches * (rates.web_search or 0)
    if left < 0:
        return 0
    if rates.completion == 0:
        return UNBOUNDED_TOKENS
    return min(left // rates.completion, UNBOUNDED_TOKENS)


def within(*, rates: Rates, tokens: Tokens, nanos: int) -> Tokens:
    """Cut the output of an estimate so that its cost stays within an amount, where that can."""
    if rates.completion == 0 or cost_nanos(rates=rates, tokens=tokens) <= nanos:
        return tokens
    known = cost_nanos(rates=rates, tokens=structs.replace(tokens, output=0))
    most = max(0, nanos - known) * PICOS_PER_NANO // rates.completion
    output = min(tokens.output, most)
    return structs.replace(tokens, output=output, reasoning=min(tokens.reasoning, output))


def units(*, nanos: int, unit_nanos: int) -> int:
    """Return a cost in units of an asset, each worth `unit_nanos`; a part of one counts whole."""
    return ceil_div(nanos, unit_nanos)


def _worst_prompt_picos(*, rates: Rates, prompt_tokens: int) -> int:
    dearest = max(rates.prompt, rates.cached, rates.written)
    return prompt_tokens * dearest + (rates.per_call or 0)
