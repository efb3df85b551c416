"""One attempt: calling one route and getting its answer, or knowing why there is none."""

from __future__ import annotations

import time

import httpx
from django.conf import settings

from common import ids
from proxy.catalogue import Route
from proxy.exchange import Exchange
from proxy.upstreams import openai
from proxy.upstreams.base import Target


def upstream_request(exchange: Exchange, route: Route) -> httpx.Request:
    """Build one attempt's request."""
    model = exchange.offer.model
    unsupported = frozenset(model.unsupported)
    ignored = sorted(unsupported & exchange.call.fields.keys())
    if ignored:
        exchange.headers["x-tollgate-ignored"] = ", ".join(ignored)
    target = Target(
        base_url=route.provider.base_url,
        api_key=route.provider.api_key,
        upstream_model=route.upstream_model,
        limit_name=model.output_limit,
        kind=route.provider.kind,
        drop=unsupported,
    )
    request = openai.request(
        target=target,
        call=exchange.call,
        request_id=ids.form("req_", exchange.incoming.id),
        output_limit=exchange.hold.output_limit,
    )
    read_s = settings.IDLE_TIMEOUT_S if exchange.call.request.stream else None
    request.extensions = {
        "timeout": {
            "connect": settings.CONNECT_TIMEOUT_S,
            "read": read_s or settings.FIRST_BYTE_TIMEOUT_S,
            "pool": settings.CONNECT_TIMEOUT_S,
        }
    }
    return request


async def send(exchange: Exchange, route: Route) -> httpx.Response:
    """
    Call one route; return its successful answer, body unread.

    :raises UpstreamTrouble: it could not be reached or refused
    """
    request = upstream_request(exchange, route)
    try:
        response = await attempt(exchange, request)
    except (httpx.TransportError, OSError) as error:
        raise openai.unreachable(error) from error
    if response.status_code == 200:
        return response
    try:
        raise openai.refusal(response.status_code, await read_body(response, limit_bytes=65536))
    finally:
        await response.aclose()


async def attempt(exchange: Exchange, request: httpx.Request) -> httpx.Response:
    """
    Send a request; once more where a kept connection turned out to be closed.

    :raises httpx.TransportError: no answer
    """
    transport = exchange.runtime.transport
    try:
        return await transport.handle_async_request(request)
    except httpx.TransportError as error:
        if not openai.hung_up(error):
            raise
    return await transport.handle_async_request(request)


async def read_body(response: httpx.Response, *, limit_bytes: int) -> bytes:
    """
    Read an upstream's body.

    :raises UpstreamTrouble: it broke off or is absurdly long
    """
    parts: list[bytes] = []
    size = 0
    try:
        async for part in response.stream:  # type: ignore[union-attr]
            parts.append(part)
            size += len(part)
            if size > limit_bytes:
                raise openai.garbage()
    except (httpx.TransportError, OSError) as error:
        raise openai.unreachable(error) from error
    return b"".join(parts)


def since_ms(began: float) -> int:
    """Return milliseconds since a ``perf_counter`` reading."""
    return int((time.perf_counter() - began) * 1000)
