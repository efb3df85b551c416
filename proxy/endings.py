"""How calls end other than well: on evidence, free of charge, or with an error."""

from __future__ import annotations

import structlog

from billing.models import CONTRADICTION
from common import ids
from common.errors import NO_RETRY, ApiError
from proxy.dispatch import since_ms
from proxy.evidence import proven
from proxy.exchange import Exchange
from proxy.routing import Leg
from proxy.upstreams.base import UpstreamTrouble
from proxy.wire.answers import Usage, estimated_tokens

log = structlog.get_logger(__name__)

CLOSED_BY_CALLER = 499
CALLERS_FAULT = ("upstream_rejected", "context_length_exceeded", "content_filter")


def quarantined(exchange: Exchange, leg: Leg, *, contradicted: bool) -> str:
    """
    Return the mark of a call whose usage contradicts itself, and alert; else nothing.

    Staff lists such calls; the charge rests on other evidence.
    """
    if not contradicted:
        return ""
    log.error(
        "A provider's usage contradicts itself",
        id=ids.form("req_", exchange.incoming.id),
        provider=leg.provider.slug,
        model=leg.route.upstream_model,
    )
    return CONTRADICTION


async def evidence_of(
    exchange: Exchange, leg: Leg, size_bytes: int, upstream_id: str
) -> tuple[Usage, str]:
    """Return the best evidence of an answer's tokens where the provider sent no usage."""
    looked_up = await proven(
        provider=leg.provider, request_id=exchange.incoming.id, upstream_id=upstream_id
    )
    if looked_up is not None:
        return looked_up, "lookup"
    return counted(exchange, leg, size_bytes), "count"


def counted(exchange: Exchange, leg: Leg, size_bytes: int) -> Usage:
    """Return our own estimate: bytes over four, rounded up, of prompt and answer."""
    prompt = min(estimated_tokens(exchange.call.prompt_bytes), leg.prompt_tokens)
    output = estimated_tokens(size_bytes) if exchange.call.kind == "chat" else 0
    return Usage(input=prompt, cached=0, cache_write=0, output=output, reasoning=0)


async def hung_up(exchange: Exchange, leg: Leg, began: float) -> None:
    """Close a call whose caller left before anything came: charge only what is proven."""
    looked_up = await proven(provider=leg.provider, request_id=exchange.incoming.id)
    latency_ms = since_ms(began)
    if looked_up is None or not looked_up.output:
        exchange.note_attempt(leg, outcome="lost", cause="cancelled", latency_ms=latency_ms)
        closing = exchange.voided(status=CLOSED_BY_CALLER, reason="cancelled", cancelled=True)
    else:
        tokens = exchange.tokens(leg, looked_up)
        exchange.note_attempt(
            leg,
            outcome="won",
            cause="cancelled",
            latency_ms=latency_ms,
            cost=exchange.upstream_cost(leg, tokens),
        )
        closing = exchange.settled(
            leg,
            tokens,
            source=exchange.source_of(leg, looked_up, "lookup"),
            status=CLOSED_BY_CALLER,
            cancelled=True,
        )
    await exchange.runtime.durable(closing)


async def fail(exchange: Exchange, trouble: UpstreamTrouble) -> None:
    """
    Give the money back and answer with the last route's trouble.

    :raises ApiError: always
    """
    error = ApiError(trouble.reason, trouble.message, headers=exchange.headers)
    # Another try could make, and cost, the same picture once more.
    again = exchange.call.kind == "image" and trouble.ambiguous
    if trouble.reason in CALLERS_FAULT or again:
        error.headers.update(NO_RETRY)
    await exchange.runtime.durable(exchange.voided(status=error.status, reason=trouble.reason))
    raise error
