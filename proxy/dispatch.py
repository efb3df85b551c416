"""One attempt: calling one route and getting its answer, or knowing why there is none."""

from __future__ import annotations

import time

import aiohttp
import httpx
import structlog
from django.conf import settings

from common import ids
from proxy import upstreams
from proxy.exchange import Exchange
from proxy.gates import Passage
from proxy.routing import Leg
from proxy.transport import Answer, Body
from proxy.upstreams import trouble
from proxy.upstreams.base import Target, UpstreamTrouble
from proxy.wire import answers
from proxy.wire.answers import Completion
from proxy.wire.call import Call

log = structlog.get_logger(__name__)

LONGEST_ANSWER_BYTES = 64 * 1024 * 1024
LONGEST_REFUSAL_BYTES = 64 * 1024
# httpx-aiohttp does not translate all of aiohttp's errors, e.g. a broken status line.
BROKEN = (httpx.TransportError, aiohttp.ClientError, OSError)


def upstream_request(exchange: Exchange, leg: Leg) -> httpx.Request:
    """Build one attempt's request."""
    target = Target(
        base_url=leg.provider.base_url,
        api_key=leg.provider.api_key,
        upstream_model=leg.route.upstream_model,
        limit_name=leg.model.output_limit,
        kind=leg.provider.kind,
        request_id=ids.form("req_", exchange.incoming.id),
        output_limit=exchange.hold.output_limit,
        max_output_tokens=leg.model.max_output_tokens,
        drop=leg.lacking,
        max_searches=leg.searches,
    )
    request = upstreams.of(leg.provider.kind).request(target=target, call=exchange.call)
    request.extensions = {
        "timeout": {
            "connect": settings.CONNECT_TIMEOUT_S,
            "read": settings.FIRST_BYTE_TIMEOUT_S,
            "pool": settings.CONNECT_TIMEOUT_S,
        }
    }
    return request


async def send(exchange: Exchange, leg: Leg) -> Answer:
    """
    Call one route; return its successful answer, body unread.

    :raises UpstreamTrouble: it could not be reached or refused
    """
    request = upstream_request(exchange, leg)
    try:
        answer = await attempt(exchange, leg, request)
    except BROKEN as error:
        raise trouble.unreachable(error) from error
    if answer.status_code == 200:
        return answer
    try:
        body = await read_body(answer.body, limit_bytes=LONGEST_REFUSAL_BYTES)
        raise upstreams.of(leg.provider.kind).refusal(answer.status_code, body)
    except UpstreamTrouble:
        raise
    except Exception as error:
        raise unforeseen(error, exchange) from error
    finally:
        await answer.body.aclose()


async def attempt(exchange: Exchange, leg: Leg, request: httpx.Request) -> Answer:
    """
    Send a request; once more where a kept connection turned out to be closed.

    :raises httpx.TransportError: no answer
    """
    transport = exchange.runtime.transport
    try:
        return await transport.send(request)
    except httpx.TransportError as error:
        # A picture may have been made and billed already: never asked for twice.
        if not trouble.hung_up(error) or exchange.call.kind == "image":
            raise
        exchange.note_attempt(leg, outcome="lost", cause="stale_connection", latency_ms=0)
    return await transport.send(request)


def passage(exchange: Exchange, leg: Leg) -> Passage:
    """Return one attempt's way through its provider's limits."""
    return exchange.runtime.gates.to(
        leg.route, request_id=exchange.incoming.id, attempt=len(exchange.attempts) + 1
    )


async def complete(exchange: Exchange, leg: Leg) -> Completion:
    """
    Get a whole answer from one route.

    :raises UpstreamTrouble: it gave none
    """
    async with passage(exchange, leg):
        return await _complete(exchange, leg)


async def _complete(exchange: Exchange, leg: Leg) -> Completion:
    answer = await send(exchange, leg)
    try:
        body = await read_body(answer.body, limit_bytes=LONGEST_ANSWER_BYTES)
        completion = upstreams.of(leg.provider.kind).completion(body)
    except UpstreamTrouble:
        raise
    except answers.Garbage:
        raise trouble.garbage() from None
    except Exception as error:
        raise unforeseen(error, exchange) from error
    finally:
        await answer.body.aclose()
    if completion.error is not None:
        raise trouble.error_in_body(completion.error)
    if not fits(exchange.call, completion):
        raise trouble.garbage()
    return completion


def fits(call: Call, completion: Completion) -> bool:
    """Tell whether an answer is of the kind that was asked for."""
    if call.kind == "chat":
        return "choices" in completion.fields
    pictures = bool(completion.usage and completion.usage.pictures)
    return "data" in completion.fields and pictures == (call.kind == "image")


async def read_body(body: Body, *, limit_bytes: int) -> bytes:
    """
    Read an upstream's body.

    :raises UpstreamTrouble: it broke off or is absurdly long
    """
    parts: list[bytes] = []
    size = 0
    try:
        async for part in body:
            parts.append(part)
            size += len(part)
            if size > limit_bytes:
                raise trouble.garbage()
    except BROKEN as error:
        raise trouble.unreachable(error) from error
    return b"".join(parts)


def unforeseen(error: Exception, exchange: Exchange) -> UpstreamTrouble:
    """Return the trouble of an answer that broke our reading of it; the log says how."""
    name = ids.form("req_", exchange.incoming.id)
    log.error("An answer could not be read", id=name, error=type(error).__name__, exc_info=error)
    return trouble.garbage()


def since_ms(began: float) -> int:
    """Return milliseconds since a ``perf_counter`` reading."""
    return int((time.perf_counter() - began) * 1000)
