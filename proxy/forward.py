"""
One request's life, from admission to settlement.

    authenticate → read and check → find routes → rate limit → hold the worst case
    → try the routes → answer → settle

Whatever happens after the hold ends in exactly one closing: here, or in the sweep when
this process dies. Streams are in ``streams``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from django.conf import settings

from common.errors import ApiError, retry_headers
from proxy import admission, routing, streams
from proxy.auth import Caller
from proxy.catalogue import Route
from proxy.dispatch import read_body, send, since_ms
from proxy.endings import evidence_of, fail, hung_up
from proxy.exchange import Exchange, tokens_of, usd
from proxy.guard import MEGABYTE, Incoming
from proxy.hangup import Hangup, HungUp
from proxy.upstreams import openai
from proxy.upstreams.base import UpstreamTrouble
from proxy.wire import answers
from proxy.wire import chat as chat_wire
from proxy.wire.answers import Completion, Usage
from proxy.wire.chat import Call

if TYPE_CHECKING:
    from proxy.runtime import Runtime

BODY_LIMIT_BYTES = 20 * MEGABYTE
LONGEST_ANSWER_BYTES = 64 * MEGABYTE
MOST_KEY_CHANGES = 3


async def chat(runtime: Runtime, incoming: Incoming) -> None:
    """Serve ``POST chat/completions``."""
    exchange = await admitted(runtime, incoming)
    hangup = Hangup(incoming)
    try:
        if exchange.call.request.stream:
            await streams.serve(exchange, hangup)
        else:
            await serve_whole(exchange, hangup)
    finally:
        hangup.stop()


async def admitted(runtime: Runtime, incoming: Incoming) -> Exchange:
    """
    Take a request through every check up to its hold.

    :raises ApiError: refused; nothing is held and no upstream was called
    """
    incoming.check_framing(limit_bytes=BODY_LIMIT_BYTES)
    caller = await who(runtime, incoming, fresh=False)
    try:
        call = chat_wire.parse(await incoming.body(limit_bytes=BODY_LIMIT_BYTES))
    except chat_wire.BadRequest as error:
        raise ApiError(error.reason, error.message, param=error.param) from None
    for _ in range(MOST_KEY_CHANGES):
        try:
            return await admit(runtime, incoming, caller, call)
        except admission.KeyChanged:
            caller = await who(runtime, incoming, fresh=True)
    message = "This API key is being changed right now. Please retry."
    raise ApiError("store_unavailable", message, headers=retry_headers(after_ms=1000))


async def who(runtime: Runtime, incoming: Incoming, *, fresh: bool) -> Caller:
    """
    Return who calls, allowed to chat.

    :raises ApiError: refused
    """
    return await runtime.doorkeeper.caller(
        headers=incoming.headers, address=incoming.address, scope="chat", fresh=fresh
    )


async def admit(runtime: Runtime, incoming: Incoming, caller: Caller, call: Call) -> Exchange:
    """
    Find routes, count the request, hold its worst case.

    :raises KeyChanged: the caller's key was changed since it was read
    :raises ApiError: refused; nothing is held
    """
    model = routing.find_model(runtime.catalogue, call.request.model, caller.key)
    offer = routing.offer(
        model=model,
        call=call,
        breakers=runtime.breakers,
        may_clamp=incoming.headers.get(b"x-tollgate-clamp", b"").lower() != b"off",
    )
    headers = await runtime.limiter.take(key_id=caller.key.id, rpm=caller.rpm)
    try:
        hold = await admission.take(runtime, incoming, caller, offer)
    except (ApiError, admission.KeyChanged) as error:
        runtime.limiter.give_back(key_id=caller.key.id, rpm=caller.rpm)
        if isinstance(error, ApiError):
            error.headers = {**headers, **error.headers}
        raise
    if hold.output_limit is not None:
        headers["x-tollgate-max-tokens"] = str(hold.output_limit)
    return Exchange(
        runtime=runtime,
        incoming=incoming,
        caller=caller,
        call=call,
        offer=offer,
        hold=hold,
        surface="chat",
        headers=headers,
    )


async def serve_whole(exchange: Exchange, hangup: Hangup) -> None:
    """Answer without a stream: the settlement is durable before the answer begins."""
    last = openai.garbage()
    deadline = exchange.incoming.started + settings.REQUEST_DEADLINE_S
    for route in exchange.offer.routes:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(max(0.0, deadline - began)):
                completion = await hangup.reading(complete(exchange, route))
        except UpstreamTrouble as trouble:
            exchange.note_trouble(route, trouble, latency_ms=since_ms(began))
            last = trouble
            if not trouble.fallback:
                break
        except TimeoutError:
            last = openai.unreachable(httpx.ReadTimeout("deadline"))
            exchange.note_trouble(route, last, latency_ms=since_ms(began))
            break
        except HungUp:
            return await hung_up(exchange, route, began)
        except asyncio.CancelledError:
            exchange.note_attempt(
                route, outcome="lost", cause="shutdown", latency_ms=since_ms(began)
            )
            exchange.runtime.till.settle(exchange.voided(status=503, reason="draining"))
            raise
        else:
            exchange.upstream_ms += since_ms(began)
            return await deliver(exchange, route, completion, since_ms(began))
    await fail(exchange, last)


async def complete(exchange: Exchange, route: Route) -> Completion:
    """
    Get a whole answer from one route.

    :raises UpstreamTrouble: it gave none
    """
    response = await send(exchange, route)
    try:
        completion = answers.read_completion(
            await read_body(response, limit_bytes=LONGEST_ANSWER_BYTES)
        )
    except answers.Garbage:
        raise openai.garbage() from None
    finally:
        await response.aclose()
    if completion.error is not None:
        raise openai.error_in_body(completion.error)
    return completion


async def deliver(
    exchange: Exchange, route: Route, completion: Completion, latency_ms: int
) -> None:
    """Settle a whole answer, then send it."""
    exchange.runtime.breakers.note(route, failed=False)
    usage, source = completion.usage, "provider"
    if usage is None:
        usage, source = await evidence_of(exchange, route, completion.size_bytes)
    tokens = tokens_of(usage)
    exchange.first_byte_ms = exchange.incoming.elapsed_ms()
    exchange.note_attempt(
        route,
        outcome="won",
        status=200,
        upstream_id=completion.upstream_id,
        latency_ms=latency_ms,
        cost=exchange.upstream_cost(route, tokens),
    )
    closing = exchange.settled(route, tokens, source=source, status=200)
    await exchange.runtime.durable(closing)
    cost = usd(exchange.charge(route, tokens))
    headers = exchange.answered_headers(route, attempts=len(exchange.attempts)) | {
        "x-tollgate-cost": cost
    }
    body = msgspec.json.encode(whole_body(exchange, completion, usage, cost))
    await exchange.incoming.answer(status=200, body=body, headers=headers)


def whole_body(
    exchange: Exchange, completion: Completion, usage: Usage, cost: str
) -> dict[str, Any]:
    """Return the answer's fields under our id and the name that was asked for."""
    fields = completion.fields
    fields["id"] = exchange.answer_id
    fields["object"] = "chat.completion"
    fields["created"] = exchange.created
    fields["model"] = exchange.call.request.model
    ours = answers.usage_object(usage, cost=cost)
    fields["usage"] = ours if completion.usage is None else fields["usage"] | {"cost": ours["cost"]}
    return fields
