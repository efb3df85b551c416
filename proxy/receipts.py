"""
``GET generation?id=``: the receipt of one call, in OpenRouter's words and then some.

OpenRouter's fields are numbers (https://openrouter.ai/docs/api-reference/get-a-generation);
our own money is decimal strings. A key reads its own calls; those of the workspace's other
keys take ``usage:read``. Whatever a key may not read does not exist for it.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
import psycopg
from django.db import connection
from msgspec import Raw, Struct

from accounts.scopes import Scope
from common import ids, money
from common.errors import ApiError, bad_parameter
from proxy.auth import Caller, store_away
from proxy.evidence import ESTIMATES
from proxy.guard import Incoming
from proxy.till import today

if TYPE_CHECKING:
    from proxy.runtime import Runtime

TOKENS_PER_PRICE = 1_000_000
# A request's own clock and the database's may be on two sides of midnight.
CLOCKS_APART = timedelta(days=1)
CLOSED = """
select row_to_json(receipt)::text from (
    select u.id, u.state, u.key_id, k.public_id as key, k.name as key_name, u.model, u.served,
           u.provider, u.surface, u.stream, u.cancelled, u.status, u.reason, u.source, u.asset,
           u.unit_nanos, u.hold, u.charged, u.granted, u.cost, u.input_tokens, u.cached_tokens,
           u.cache_write_tokens,
           u.output_tokens, u.reasoning_tokens, u.pictures, u.picture_size, u.picture_quality,
           u.searches, u.created_at, u.closed_at, u.first_byte_ms, u.latency_ms,
           (select row_to_json(p) from billing_price p where p.id = u.price_id) as price,
           (select json_agg(a order by a.n) from proxy_attempt a
            where a.request_id = u.id and a.day = u.day) as attempts,
           (select row_to_json(r) from billing_revision r where r.id = u.id) as correction
    from billing_usage u join accounts_apikey k on k.id = u.key_id
    where u.id = %s and u.day between %s and %s and u.workspace_id = %s
) receipt
"""
OPEN = """
select row_to_json(receipt)::text from (
    select h.id, 'pending' as state, h.key_id, k.public_id as key, k.name as key_name, h.model,
           h.asset, h.unit_nanos, h.amount as hold, h.surface, h.stream, h.created_at,
           (select row_to_json(p) from billing_price p where p.id = h.price_id) as price
    from billing_hold h join accounts_apikey k on k.id = h.key_id
    where h.id = %s and h.workspace_id = %s
) receipt
"""


class Attempt(Struct, frozen=True):
    """One call to a provider."""

    n: int
    provider: str
    upstream_model: str
    upstream_id: str
    outcome: str
    cause: str
    status: int | None
    latency_ms: int | None
    finish_reason: str = ""


class Price(Struct, frozen=True):
    """The price version that a call was admitted with, in pico-dollars."""

    id: int
    effective_from: datetime
    prompt: int
    completion: int
    cached_prompt: int | None
    cache_write: int | None
    per_call: int | None
    web_search: int | None
    image: dict[str, dict[str, int]] | None


class Correction(Struct, frozen=True):
    """What a call was charged before its evidence came, and on what; in units of the asset."""

    at: datetime
    old_source: str
    old_charged: int


class Receipt(Struct, frozen=True, kw_only=True):
    """What is known of one call; amounts in units of the asset."""

    id: UUID
    state: str
    key_id: int
    key: str
    key_name: str
    model: str
    asset: str
    unit_nanos: int
    hold: int
    created_at: datetime
    price: Price | None = None
    attempts: tuple[Attempt, ...] | None = None
    correction: Correction | None = None
    served: str = ""
    provider: str = ""
    surface: str = ""
    stream: bool = False
    cancelled: bool = False
    status: int | None = None
    reason: str = ""
    source: str = "none"
    charged: int = 0
    granted: int = 0
    cost: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    pictures: int = 0
    picture_size: str = ""
    picture_quality: str = ""
    searches: int = 0
    closed_at: datetime | None = None
    first_byte_ms: int | None = None
    latency_ms: int | None = None


async def generation(runtime: Runtime, incoming: Incoming) -> None:
    """Serve the receipt of ``?id=``, in any form of a request's id."""
    caller = await runtime.doorkeeper.caller(
        headers=incoming.headers, address=incoming.address, scope=None, fresh=True
    )
    request_id = wanted_id(incoming)
    headers = await runtime.limiter.peek(caller)
    try:
        receipt = await find(runtime, caller, request_id)
    except (psycopg.Error, OSError) as error:
        raise store_away(error) from error
    body = msgspec.json.encode({"data": describe(receipt)})
    await incoming.answer(status=200, body=body, headers=headers)


def wanted_id(incoming: Incoming) -> UUID:
    """
    Return the request that is asked for.

    :raises ApiError: 400 no id, 404 none of ours
    """
    query = parse_qs(incoming.scope["query_string"].decode("latin-1"))
    given = query.get("id", [""])[-1].strip()
    if not given:
        raise bad_parameter("Name the request: ?id=gen_…, req_… or chatcmpl-….", param="id")
    found = ids.parse_request(given)
    if found is None:
        raise unknown()
    return found


def unknown() -> ApiError:
    """Return the 404 for a call that is not there, or not for this key to see."""
    return ApiError("not_found", "There is no such request in this workspace.", param="id")


async def find(runtime: Runtime, caller: Caller, request_id: UUID) -> Receipt:
    """
    Return a call of the caller's workspace, open or closed.

    :raises ApiError: 404
    """
    workspace = caller.workspace.id
    for query, parameters in questions(request_id, workspace_id=workspace):
        if rows := await runtime.reader.rows(query, parameters):
            receipt = msgspec.json.decode(rows[0][0], type=Receipt)
            if receipt.key_id != caller.key.id and Scope.USAGE_READ not in caller.workspace.scopes:
                break
            return receipt
    raise unknown()


def questions(request_id: UUID, *, workspace_id: int) -> list[tuple[str, tuple[Any, ...]]]:
    """
    Return the queries for a call, to be asked in turn until one finds it.

    :raises ApiError: 404 an id of no time at all
    """
    try:
        day = today(request_id)
    except (ValueError, OverflowError):
        raise unknown() from None
    days = (neighbour(day, -CLOCKS_APART), neighbour(day, CLOCKS_APART))
    closed = (CLOSED, (request_id, *days, workspace_id))
    # It may be closed between two readings: then it is found by the third.
    return [closed, (OPEN, (request_id, workspace_id)), closed]


def read(*, request_id: UUID, workspace_id: int) -> Receipt:
    """
    Return a call of a workspace, for who may read all of them.

    :raises ApiError: 404
    """
    with connection.cursor() as cursor:
        for query, parameters in questions(request_id, workspace_id=workspace_id):
            cursor.execute(query, parameters)
            if row := cursor.fetchone():
                return msgspec.json.decode(row[0], type=Receipt)
    raise unknown()


def neighbour(day: date, distance: timedelta) -> date:
    """Return a day near another, within what the calendar can hold."""
    try:
        return day + distance
    except OverflowError:
        return day


def describe(receipt: Receipt) -> dict[str, Any]:
    """Return a receipt as it is answered."""
    return {
        "id": ids.form("gen_", receipt.id),
        "request_id": ids.form("req_", receipt.id),
        "state": receipt.state,
        "status": receipt.status,
        "reason": receipt.reason or None,
        "key": receipt.key,
        **_openrouter(receipt),
        "tokens": _tokens(receipt),
        "source": receipt.source,
        "estimated": receipt.source in ESTIMATES,
        "corrected": None
        if receipt.correction is None
        else _corrected(receipt, receipt.correction),
        "price_version": None if receipt.price is None else _price(receipt.price),
        "hold": _amount(receipt, receipt.hold),
        "charge": _amount(receipt, receipt.charged) | {"granted": _units(receipt, receipt.granted)},
        "timings": {
            "created_at": receipt.created_at,
            "closed_at": receipt.closed_at,
            "first_byte_ms": receipt.first_byte_ms,
            "latency_ms": receipt.latency_ms,
        },
        "attempts": [_attempt(attempt) for attempt in receipt.attempts or ()],
    }


def _corrected(receipt: Receipt, correction: Correction) -> dict[str, Any]:
    """Return what was charged until evidence came that is better than the sweep's."""
    return {
        "at": correction.at,
        "source_before": correction.old_source,
        "charge_before": _amount(receipt, correction.old_charged),
    }


def _openrouter(receipt: Receipt) -> dict[str, Any]:
    """Return the fields that OpenRouter has; what we do not keep or do not tell is null."""
    prompt = receipt.input_tokens + receipt.cached_tokens + receipt.cache_write_tokens
    paid = Raw(_usd(receipt, receipt.charged).encode())
    won = [each for each in receipt.attempts or () if each.outcome == "won"]
    return {
        "upstream_id": won[-1].upstream_id or None if won else None,
        "model": receipt.served or receipt.model,
        "provider_name": receipt.provider or None,
        "api_type": receipt.surface or None,
        "created_at": receipt.created_at,
        "streamed": receipt.stream,
        "cancelled": receipt.cancelled,
        "finish_reason": won[-1].finish_reason or None if won else None,
        "native_finish_reason": None,
        "tokens_prompt": prompt,
        "tokens_completion": receipt.output_tokens,
        "native_tokens_prompt": prompt,
        "native_tokens_completion": receipt.output_tokens,
        "native_tokens_cached": receipt.cached_tokens,
        "native_tokens_reasoning": receipt.reasoning_tokens,
        "num_media_completion": receipt.pictures,
        "num_search_results": receipt.searches,
        "latency": receipt.first_byte_ms,
        "generation_time": _generation_ms(receipt),
        "total_cost": paid,
        "usage": paid,
        "upstream_inference_cost": None,
        "cache_discount": None,
        "is_byok": False,
        "provider_responses": [_response(attempt) for attempt in receipt.attempts or ()],
    }


def _generation_ms(receipt: Receipt) -> int | None:
    if receipt.latency_ms is None or receipt.first_byte_ms is None:
        return receipt.latency_ms
    return max(0, receipt.latency_ms - receipt.first_byte_ms)


def _response(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": attempt.upstream_id or None,
        "provider_name": attempt.provider,
        "model_permaslug": attempt.upstream_model,
        "status": attempt.status,
        "latency": attempt.latency_ms,
        "is_byok": False,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "n": attempt.n,
        "provider": attempt.provider,
        "upstream_model": attempt.upstream_model,
        "upstream_id": attempt.upstream_id or None,
        "outcome": attempt.outcome,
        "cause": attempt.cause or None,
        "status": attempt.status,
        "latency_ms": attempt.latency_ms,
    }


def _tokens(receipt: Receipt) -> dict[str, Any]:
    """Return the disjoint buckets that were priced; reasoning lies inside output."""
    return {
        "input": receipt.input_tokens,
        "cached_input": receipt.cached_tokens,
        "cache_write": receipt.cache_write_tokens,
        "output": receipt.output_tokens,
        "reasoning": receipt.reasoning_tokens,
        "pictures": receipt.pictures,
        "picture_size": receipt.picture_size or None,
        "picture_quality": receipt.picture_quality or None,
        "searches": receipt.searches,
    }


def _price(price: Price) -> dict[str, Any]:
    cached = price.prompt if price.cached_prompt is None else price.cached_prompt
    written = price.prompt if price.cache_write is None else price.cache_write
    return {
        "id": price.id,
        "effective_from": price.effective_from,
        "usd_per_million_tokens": {
            "input": money.usd_from_pico(price.prompt * TOKENS_PER_PRICE),
            "cached_input": money.usd_from_pico(cached * TOKENS_PER_PRICE),
            "cache_write": money.usd_from_pico(written * TOKENS_PER_PRICE),
            "output": money.usd_from_pico(price.completion * TOKENS_PER_PRICE),
        },
        "usd_per_call": _piece(price.per_call),
        "usd_per_web_search": _piece(price.web_search),
        "usd_per_picture": None
        if price.image is None
        else {
            size: {quality: money.usd_from_pico(pico) for quality, pico in qualities.items()}
            for size, qualities in price.image.items()
        },
    }


def _piece(pico: int | None) -> str | None:
    return None if pico is None else money.usd_from_pico(pico)


def _amount(receipt: Receipt, units: int) -> dict[str, str]:
    """Return an amount of the call's asset, and what it is worth."""
    return {
        "asset": receipt.asset,
        "amount": _units(receipt, units),
        "usd": _usd(receipt, units),
    }


def _units(receipt: Receipt, units: int) -> str:
    return _usd(receipt, units) if receipt.asset == "USD" else str(units)


def _usd(receipt: Receipt, units: int) -> str:
    return money.usd(units * receipt.unit_nanos, at_least=6)
