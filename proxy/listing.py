"""``GET models`` and ``GET models/{id}``: what a key may call, with prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from common import money
from common.errors import ApiError
from proxy.auth import Caller
from proxy.catalogue import Model
from proxy.guard import Incoming

if TYPE_CHECKING:
    from proxy.runtime import Runtime

TOKENS_PER_PRICE = 1000


async def models(runtime: Runtime, incoming: Incoming) -> None:
    """Serve the list, filtered by what the key may use."""
    caller = await listener(runtime, incoming)
    listed = [
        describe(model)
        for model in runtime.catalogue.models.values()
        if caller.key.allows_model(model.slug, *model.aliases)
    ]
    body = msgspec.json.encode({"object": "list", "data": listed})
    headers = await runtime.limiter.peek(caller)
    await incoming.answer(status=200, body=body, headers=headers)


async def model(runtime: Runtime, incoming: Incoming) -> None:
    """Serve one model by its slug or an alias; the id in the answer is the name asked for."""
    caller = await listener(runtime, incoming)
    name = incoming.path.split("/models/", 1)[1]
    found = runtime.catalogue.find(name)
    if found is None or not caller.key.allows_model(found.slug, *found.aliases):
        raise ApiError(
            "model_not_found", f"The model {name[:128]!r} does not exist.", param="model"
        )
    body = msgspec.json.encode(describe(found) | {"id": name})
    headers = await runtime.limiter.peek(caller)
    await incoming.answer(status=200, body=body, headers=headers)


async def listener(runtime: Runtime, incoming: Incoming) -> Caller:
    """Return who asks; the key is read afresh, as nothing here is admitted."""
    return await runtime.doorkeeper.caller(
        headers=incoming.headers, address=incoming.address, scope=None, fresh=True
    )


def describe(model: Model) -> dict[str, Any]:
    """Return one entry."""
    return {
        "id": model.slug,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "pricing": pricing_of(model),
        "context_length": None if model.kind == "image" else model.context_length,
    }


def pricing_of(model: Model) -> dict[str, Any]:
    """
    Return prices as exact decimal strings in USD.

    Tokens by the thousand, pictures and searches by the piece, ``request`` for what each call
    costs. What is not priced apart costs what a prompt token costs, and is left out.
    """
    rates = model.rates
    prices: dict[str, Any] = {}
    if model.kind != "image":
        prices["prompt"] = per_thousand(rates.prompt)
        prices["completion"] = per_thousand(rates.completion)
        if rates.cached_prompt is not None:
            prices["input_cache_read"] = per_thousand(rates.cached_prompt)
        if rates.cache_write is not None:
            prices["input_cache_write"] = per_thousand(rates.cache_write)
        if rates.web_search is not None:
            prices["web_search"] = usd(rates.web_search)
    if model.kind == "image":
        prices["image"] = {
            size: {quality: usd(pico) for quality, pico in by_quality.items()}
            for size, by_quality in (rates.image or {}).items()
        }
    if rates.per_call:
        prices["request"] = usd(rates.per_call)
    return prices


def usd(pico: int) -> str:
    """Return a price with at least four decimals."""
    return money.usd_from_pico(pico, at_least=4)


def per_thousand(pico_per_token: int) -> str:
    """Return a price per 1,000 tokens with at least four decimals."""
    return usd(pico_per_token * TOKENS_PER_PRICE)
