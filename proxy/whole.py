"""
Answers given whole, without a stream: the settlement is durable before the answer begins.

What cannot be told is paid for by nobody; the routes are tried in order until one can be.
"""

from __future__ import annotations

import asyncio
import time

import httpx
from django.conf import settings
from msgspec import Struct

from billing.pricing import Tokens
from proxy.dispatch import complete, since_ms, unforeseen
from proxy.endings import evidence_of, fail, hung_up, quarantined
from proxy.exchange import Exchange, usd
from proxy.hangup import Hangup, HungUp
from proxy.routing import Leg
from proxy.surfaces.base import Outcome
from proxy.upstreams import trouble as troubles
from proxy.upstreams.base import UpstreamTrouble
from proxy.wire import answers
from proxy.wire.answers import Completion, Usage


async def serve(exchange: Exchange, hangup: Hangup) -> None:
    """Answer an admitted request with what the first route gives that gives anything."""
    leg: Leg | None = exchange.offer.legs[0]
    last = troubles.garbage()
    deadline = exchange.incoming.started + settings.REQUEST_DEADLINE_S
    while leg is not None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(max(0.0, deadline - began)):
                completion = await hangup.reading(complete(exchange, leg))
            latency_ms = since_ms(began)
            written = await rendered(exchange, leg, completion)
        except (UpstreamTrouble, TimeoutError) as error:
            last = error if isinstance(error, UpstreamTrouble) else out_of_time()
            exchange.note_trouble(leg, last, latency_ms=since_ms(began))
            leg = exchange.leg_after(leg, last)
        except HungUp:
            return await hung_up(exchange, leg, began)
        else:
            exchange.upstream_ms += latency_ms
            return await deliver(exchange, leg, written, latency_ms)
    await fail(exchange, last)


def out_of_time() -> UpstreamTrouble:
    """Return the trouble of a call that took longer than a caller waits: the end of trying."""
    trouble = troubles.unreachable(httpx.ReadTimeout("deadline"))
    trouble.fallback = False
    return trouble


class Rendered(Struct, frozen=True):
    """A whole answer in the words of its surface, with what it rests on."""

    completion: Completion
    usage: Usage
    source: str
    tokens: Tokens
    cost: str
    body: bytes


async def rendered(exchange: Exchange, leg: Leg, completion: Completion) -> Rendered:
    """
    Write an answer out, before anybody pays for it.

    :raises UpstreamTrouble: it cannot be told; nobody is charged for what nobody gets
    """
    usage, source = completion.usage, "provider"
    if usage is None:
        usage, source = await evidence_of(
            exchange, leg, completion.size_bytes, completion.upstream_id
        )
        source = exchange.source_of(leg, usage, source)
    try:
        tokens = exchange.tokens(leg, usage)
        cost = usd(exchange.charge(leg, tokens))
        body = await exchange.surface.whole(exchange, completion, Outcome(leg, usage, cost, None))
    except Exception as error:
        raise unforeseen(error, exchange) from error
    return Rendered(completion, usage, source, tokens, cost, body)


async def deliver(exchange: Exchange, leg: Leg, written: Rendered, latency_ms: int) -> None:
    """Settle a whole answer, then send it."""
    completion, tokens = written.completion, written.tokens
    exchange.runtime.breakers.note(leg.route, failed=False)
    exchange.first_byte_ms = exchange.incoming.elapsed_ms()
    exchange.finish_reason = answers.finish_reason(completion.fields)
    exchange.note_attempt(
        leg,
        outcome="won",
        status=200,
        upstream_id=completion.upstream_id,
        latency_ms=latency_ms,
        cost=exchange.upstream_cost(leg, tokens),
    )
    if exchange.before_charge is not None:
        await exchange.before_charge(exchange, leg, completion, written.usage)
    headers = exchange.answered_headers(leg, attempts=len(exchange.attempts))
    headers["x-tollgate-cost"] = written.cost
    mark = quarantined(exchange, leg, contradicted=completion.contradicted)
    closing = exchange.settled(leg, tokens, source=written.source, status=200, reason=mark)
    settled = await exchange.runtime.durable(closing)
    body = written.body
    if exchange.after_charge is not None:
        body = await exchange.after_charge(Outcome(leg, written.usage, written.cost, settled))
    if exchange.claim is not None:
        await exchange.claim.keep(body)
    if exchange.said is not None:
        exchange.write_down(body, size_bytes=len(body))
    await exchange.incoming.answer(status=200, body=body, headers=headers)
