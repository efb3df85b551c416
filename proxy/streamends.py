"""How a stream ends: paid in full, broken off, left by its caller, or cut by our own stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from common.errors import ApiError
from proxy import endings
from proxy.dispatch import since_ms
from proxy.exchange import usd
from proxy.surfaces.base import Outcome
from proxy.till import Closing
from proxy.transcripts import Overheard
from proxy.wire.answers import Usage

if TYPE_CHECKING:
    from proxy.streams import Stream


async def concluded(stream: Stream, ending: Coroutine[None, None, None]) -> None:
    """End a stream; whatever goes wrong meanwhile, what was told of it is charged."""
    exchange = stream.exchange
    try:
        await ending
    except asyncio.CancelledError:
        if not exchange.closed:
            shut_down(stream)
        raise
    except Exception:
        if stream.told and not exchange.closed:
            closing = closing_of(
                stream, stream.counted(), source="count", status=200, reason="internal"
            )
            exchange.runtime.till.settle(closing)
        raise


async def finish(stream: Stream) -> None:
    """Settle a whole stream, then end it: what the caller sees ended is durable."""
    exchange, leg = stream.exchange, stream.leg
    exchange.runtime.breakers.note(leg.route, failed=False)
    usage, source = await stream.evidence()
    closing = closing_of(
        stream,
        usage,
        source=source,
        status=200,
        reason=stream.mark(),
        cancelled=exchange.incoming.gone,
    )
    settled = await exchange.runtime.durable(closing)
    if isinstance(stream.rendering, Overheard):
        heard = stream.rendering
        exchange.write_down(heard.answered(), size_bytes=heard.size)
    cost = usd(exchange.charge(leg, exchange.tokens(leg, usage)))
    await stream.begin()
    end = await stream.rendering.end(Outcome(leg, usage, cost, settled))
    await exchange.incoming.write(end, last=True)


async def broke_off(stream: Stream, cause: str) -> None:
    """Settle what is proven of a stream that broke off, and say that it did."""
    exchange = stream.exchange
    await stream.flush()
    exchange.runtime.breakers.note(stream.leg.route, failed=True)
    usage, source = await stream.evidence()
    reason = stream.mark() or "stream_interrupted"
    closing = closing_of(stream, usage, source=source, status=200, reason=reason, cause=cause)
    await exchange.runtime.durable(closing)
    error = ApiError("stream_interrupted", "The model's provider broke off the stream.").error()
    await stream.begin()
    await exchange.incoming.write(await stream.rendering.broken(error), last=True)


async def cancelled(stream: Stream) -> None:
    """Settle a stream whose caller hung up and whose upstream was cancelled."""
    exchange = stream.exchange
    if not stream.reader.size_bytes:
        return await endings.hung_up(exchange, stream.leg, stream.began)
    usage, source = await stream.evidence()
    closing = closing_of(
        stream,
        usage,
        source=source,
        status=endings.CLOSED_BY_CALLER,
        reason=stream.mark() or "cancelled",
        cancelled=True,
        cause="cancelled",
    )
    await exchange.runtime.durable(closing)


def shut_down(stream: Stream) -> None:
    """
    Leave a stream that is cut by our own stop to the best evidence.

    With the provider's usage of all that came it is settled here. Otherwise a last checkpoint
    is written and the sweep, which asks the provider first, closes the hold of this stopped
    process.
    """
    usage = stream.reader.usage
    if usage is None or stream.outgrown:
        stream.mark()
        stream.exchange.runtime.leave(stream)
        return
    closing = closing_of(
        stream, usage, source="provider", status=200, reason="draining", cause="shutdown"
    )
    stream.exchange.runtime.till.settle(closing)


def closing_of(
    stream: Stream,
    usage: Usage,
    *,
    source: str,
    status: int,
    reason: str = "",
    cancelled: bool = False,
    cause: str = "",
) -> Closing:
    """Return the closing of a stream, its attempt written down."""
    exchange, leg = stream.exchange, stream.leg
    tokens = exchange.tokens(leg, usage)
    exchange.note_attempt(
        leg,
        outcome="won",
        cause=cause,
        status=200,
        upstream_id=stream.reader.upstream_id,
        latency_ms=since_ms(stream.began),
        cost=exchange.upstream_cost(leg, tokens),
    )
    return exchange.settled(
        leg,
        tokens,
        source=exchange.source_of(leg, usage, source),
        status=status,
        reason=reason,
        cancelled=cancelled,
    )
