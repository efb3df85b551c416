"""
One request's life, from admission to settlement.

    authenticate → read and check → find routes → rate limit → hold the worst case
    → try the routes → answer → settle

Whatever happens after the hold ends in exactly one closing: here, or in the sweep when
this process dies. Streams are in ``streams``, other answers in ``whole``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from msgspec import Struct

from common import ids
from common.errors import NO_RETRY, ApiError, retry_advice, retry_headers
from proxy import admission, idempotency, limits, routing, streams, whole
from proxy.admission import Hold
from proxy.auth import Caller
from proxy.exchange import Exchange
from proxy.guard import Incoming
from proxy.hangup import Hangup
from proxy.routing import Offer
from proxy.surfaces.base import Surface
from proxy.wire.call import BadRequest, Call

if TYPE_CHECKING:
    from proxy.runtime import Runtime

log = structlog.get_logger(__name__)

MOST_KEY_CHANGES = 3
# A caller is only looked for after an admission that took longer than this.
PATIENCE_MS = 50
LARGE_BYTES = 256 * 1024
OF_THE_KEY = ("rate_limited", "too_many_streams", "model_not_allowed")


class Order(Struct, frozen=True):
    """What a caller asks for; ``digest`` of the body only where it is to be made once."""

    caller: Caller
    call: Call
    digest: bytes | None = None


def served(
    surface: Surface, answering: Callable[[Exchange], Awaitable[None]] | None = None
) -> Callable[[Runtime, Incoming], Awaitable[None]]:
    """Return the function that serves one paid endpoint."""

    async def serve(runtime: Runtime, incoming: Incoming) -> None:
        order = await read(runtime, incoming, surface)
        if order.digest is not None:
            return await once(runtime, incoming, surface, order, answering or answer)
        exchange = await admitted(runtime, incoming, surface, order)
        await (answering or answer)(exchange)

    return serve


async def once(
    runtime: Runtime,
    incoming: Incoming,
    surface: Surface,
    order: Order,
    answering: Callable[[Exchange], Awaitable[None]],
) -> None:
    """
    Serve a request that carries an ``Idempotency-Key``: make it, or repeat what was answered.

    :raises ApiError: refused, also where the key is taken
    """
    try:
        claim = await idempotency.claim(
            runtime.reader,
            word=incoming.headers[idempotency.HEADER],
            endpoint=surface.name,
            caller=order.caller,
            body_digest=order.digest or b"",
            id=incoming.id,
        )
    except ApiError as error:
        if error.status == 409:
            # Nothing is admitted here, so what is kept of the API key is not enough.
            await who(runtime, incoming, surface, fresh=True)
        raise
    if isinstance(claim, idempotency.Replay):
        caller = await who(runtime, incoming, surface, fresh=True)
        headers = {**await runtime.limiter.peek(caller), **idempotency.REPLAYED}
        incoming.id = claim.request_id
        return await incoming.answer(status=200, body=claim.body, headers=headers)
    try:
        exchange = await admitted(runtime, incoming, surface, order)
        if not await claim.confirm():
            runtime.till.void(exchange.hold.ask, day=exchange.hold.day)
            exchange.leave()
            raise idempotency.in_progress()
        exchange.claim = claim
        await answering(exchange)
    finally:
        await claim.release()


async def answer(exchange: Exchange) -> None:
    """
    Answer an admitted request; whatever happens, its hold is closed or left to the sweep.

    :raises ApiError: no provider gave an answer, or this server is being stopped
    """
    runtime, incoming = exchange.runtime, exchange.incoming
    if incoming.elapsed_ms() > PATIENCE_MS and await incoming.has_left():
        runtime.till.void(exchange.hold.ask, day=exchange.hold.day)
        return exchange.leave()
    hangup = Hangup(incoming)
    try:
        if exchange.call.stream:
            await streams.serve(exchange, hangup)
        else:
            await whole.serve(exchange, hangup)
    except asyncio.CancelledError:
        # We are being stopped. The hold goes to the sweep, which asks the provider.
        if incoming.answered:
            raise
        raise draining() from None
    except ApiError:
        raise
    except Exception as error:
        if not exchange.closed:
            runtime.till.settle(exchange.voided(status=500, reason="internal"))
            raise
        log.exception("A paid call failed", id=exchange.answer_id, error=type(error).__name__)
        name = ids.form("req_", incoming.id)
        message = f"Something went wrong on our side after the answer. Its receipt is {name}."
        raise ApiError("internal", message, headers=NO_RETRY) from error
    finally:
        hangup.stop()
        exchange.leave()


def draining() -> ApiError:
    """Return the 503 of a server that is being stopped."""
    return ApiError(
        "draining",
        f"This server is shutting down. {retry_advice(after_ms=1000)}",
        headers=retry_headers(after_ms=1000),
    )


async def read(runtime: Runtime, incoming: Incoming, surface: Surface) -> Order:
    """
    Read a request; its body is needed no longer than until it is admitted.

    :raises ApiError: refused; nothing was counted or held
    """
    incoming.check_framing(limit_bytes=surface.limit_bytes)
    caller = await who(runtime, incoming, surface, fresh=False)
    body = incoming.said = await incoming.body(limit_bytes=surface.limit_bytes)
    try:
        if len(body) > LARGE_BYTES:
            # A large body takes long to read; others are served meanwhile.
            call = await asyncio.to_thread(surface.parse, body)
        else:
            call = surface.parse(body)
    except BadRequest as error:
        raise ApiError(error.reason, error.message, param=error.param) from None
    if idempotency.HEADER not in incoming.headers:
        return Order(caller, call)
    return Order(caller, call, idempotency.fingerprint(caller=caller, body=body))


async def admitted(
    runtime: Runtime, incoming: Incoming, surface: Surface, order: Order
) -> Exchange:
    """
    Take a request through every check up to its hold.

    :raises ApiError: refused; nothing is held and no upstream was called
    """
    caller, call = order.caller, order.call
    for _ in range(MOST_KEY_CHANGES):
        try:
            return await admit(runtime, incoming, surface, caller, call)
        except admission.KeyChanged:
            caller = await who(runtime, incoming, surface, fresh=True)
        except ApiError as error:
            if error.reason not in OF_THE_KEY or not runtime.doorkeeper.is_old(incoming.headers):
                raise
            # The refusal may rest on a limit that was changed since the key was read.
            newer = await who(runtime, incoming, surface, fresh=True)
            if newer.key.version == caller.key.version:
                raise
            caller = newer
    message = f"This API key is being changed right now. {retry_advice(after_ms=1000)}"
    raise ApiError("store_unavailable", message, headers=retry_headers(after_ms=1000))


async def who(runtime: Runtime, incoming: Incoming, surface: Surface, *, fresh: bool) -> Caller:
    """
    Return who calls, allowed to use a surface.

    :raises ApiError: refused
    """
    return await runtime.doorkeeper.caller(
        headers=incoming.headers, address=incoming.address, scope=surface.scope, fresh=fresh
    )


async def admit(
    runtime: Runtime, incoming: Incoming, surface: Surface, caller: Caller, call: Call
) -> Exchange:
    """
    Find routes, count the request, hold its worst case.

    :raises KeyChanged: the caller's key was changed since it was read
    :raises ApiError: refused; nothing is held
    """
    offer = routing.offer(
        catalogue=runtime.catalogue,
        key=caller.key,
        call=call,
        breakers=runtime.breakers,
        may_clamp=incoming.headers.get(b"x-tollgate-clamp", b"").lower() != b"off",
    )
    if not call.background:
        # What waits is made later, when others may rest.
        offer = routing.awake(offer, runtime.breakers)
    stream = incoming.id if call.stream else None
    tokens = limits.reservation(caller, offer)
    headers, hold = await counted_and_held(
        runtime, incoming, surface, caller, offer, tokens=tokens, stream=stream
    )
    if hold.output_limit is not None:
        headers["x-tollgate-max-tokens"] = str(hold.output_limit)
    said, incoming.said = incoming.said, b""
    return Exchange(
        runtime=runtime,
        incoming=incoming,
        caller=caller,
        call=call,
        offer=offer,
        hold=hold,
        surface=surface,
        headers=headers,
        reserved_tokens=tokens,
        said=said if caller.workspace.prompt_logging else None,
    )


async def counted_and_held(
    runtime: Runtime,
    incoming: Incoming,
    surface: Surface,
    caller: Caller,
    offer: Offer,
    *,
    tokens: int,
    stream: UUID | None,
) -> tuple[dict[str, str], Hold]:
    """
    Count a request against its key's rates and hold its money; both or neither.

    Far from a limit Redis and PostgreSQL are asked at once, near it Redis first: what it
    refuses then costs the ledger nothing. Returns the headers of the limits and the hold.

    :raises KeyChanged: the caller's key was changed since it was read
    :raises ApiError: refused, for the rate before the money
    """
    limiter, hold = runtime.limiter, None
    counting = asyncio.create_task(limiter.take(caller, tokens=tokens, stream=stream))
    try:
        if not limiter.is_at_ease(caller, tokens=tokens, stream=stream):
            await counting
        hold = await admission.take(
            runtime, incoming, caller, offer, asset=surface.asset, surface=surface.name
        )
        return await counting, hold
    except BaseException as error:
        if hold is not None:
            runtime.till.void(hold.ask, day=hold.day, reason="rate_limited")

        def give_back(ended: asyncio.Task[dict[str, str]]) -> None:
            if not ended.cancelled() and ended.exception() is None:
                limiter.give_back(caller, tokens=tokens, stream=stream)

        if isinstance(error, asyncio.CancelledError):
            counting.cancel()
            counting.add_done_callback(give_back)
            raise
        headers = await counting
        give_back(counting)
        if isinstance(error, ApiError):
            error.headers = {**headers, **error.headers}
        raise
