"""
``provider`` in a body: what a caller asks of routing, in OpenRouter's words.

Reference: https://openrouter.ai/docs/guides/routing/provider-routing
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

from common import money
from proxy.wire.call import BadRequest, Preferences, Sort

Usd = str | int | float
# Promises that no route of ours makes: passed over where nothing is asked of them.
PROMISES = ("data_collection", "zdr", "enforce_distillable_text", "quantizations")
ASKS_NOTHING: tuple[Any, ...] = (None, False, "allow", [])


class PriceCeiling(Struct, forbid_unknown_fields=True):
    """The most to pay, in USD: per million tokens, per request, per picture."""

    prompt: Usd | None = None
    completion: Usd | None = None
    request: Usd | None = None
    image: Usd | None = None
    # No model here makes sound, so none is dearer.
    audio: Usd | None = None


class SortFields(Struct):
    """``sort`` as an object; the partition ``none`` sorts the routes of all models together."""

    by: Sort
    partition: Literal["model", "none"] | None = None


class ProviderFields(Struct):
    """``provider`` in a body."""

    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    sort: Sort | SortFields | None = None
    max_price: PriceCeiling | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    # Wishes, not conditions: named in x-tollgate-ignored.
    preferred_min_throughput: Any = None
    preferred_max_latency: Any = None


WISHES = ("preferred_min_throughput", "preferred_max_latency")


def read(asked: ProviderFields | None, sent: Any) -> Preferences:
    """
    Return what a caller asks of routing; ``sent`` is the same as it came.

    :raises BadRequest: a price that is none, or a condition that no route can promise
    """
    if asked is None:
        return Preferences()
    _refuse(sent)
    ceiling = asked.max_price or PriceCeiling()
    by_token, by_piece = money.pico_per_token_from_usd_per_million, money.pico_from_usd
    sort = asked.sort
    return Preferences(
        order=tuple(asked.order or ()),
        only=tuple(asked.only or ()),
        ignore=tuple(asked.ignore or ()),
        sort=sort.by if isinstance(sort, SortFields) else sort,
        across_models=isinstance(sort, SortFields) and sort.partition == "none",
        max_prompt=_pico(ceiling.prompt, by_token, "prompt"),
        max_completion=_pico(ceiling.completion, by_token, "completion"),
        max_request=_pico(ceiling.request, by_piece, "request"),
        max_image=_pico(ceiling.image, by_piece, "image"),
        allow_fallbacks=asked.allow_fallbacks is not False,
        require_parameters=bool(asked.require_parameters),
    )


def unheard(asked: ProviderFields | None) -> frozenset[str]:
    """Return the wishes that routing does not follow."""
    if asked is None:
        return frozenset()
    return frozenset(f"provider.{name}" for name in WISHES if getattr(asked, name) is not None)


def _refuse(sent: dict[str, Any]) -> None:
    for name, value in sent.items():
        if name in ProviderFields.__struct_fields__:
            continue
        if name in PROMISES and any(value == nothing for nothing in ASKS_NOTHING):
            continue
        message = f"provider.{name} is not supported: no provider here can promise it."
        raise BadRequest("unsupported_parameter", message, param=f"provider.{name}")


def _pico(usd: Usd | None, convert: Callable[[str], int], name: str) -> int | None:
    """Read a price; a JSON number is read as it is written."""
    if usd is None:
        return None
    param = f"provider.max_price.{name}"
    try:
        pico = convert(str(usd))
        if pico < 0:
            raise ValueError("a price is not below 0.")
        return pico
    except ValueError as error:
        message = f"Invalid value for {param}: {error}"
        raise BadRequest("invalid_parameter", message, param=param) from None
