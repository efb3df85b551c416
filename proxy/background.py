"""
Making generations in a Celery worker, with the gateway's own code and runtime.

A worker's process starts one runtime in a thread of its own when the first generation
arrives. Its row with a heartbeat owns the holds of what it makes, as a gateway's does; the
claim in the database, not the broker's message, decides who makes a generation.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from uuid import UUID

import structlog
from celery.signals import worker_process_shutdown, worker_shutdown
from django.conf import settings
from msgspec import MsgspecError, json, structs

from accounts.keyrecord import KeyRecord, KeyWorkspace
from common import crypto, ids
from common.crypto import UnreadableSecret
from common.errors import ApiError
from proxy import generations
from proxy.admission import Hold
from proxy.auth import Caller
from proxy.catalogue import Model, Route
from proxy.exchange import Exchange
from proxy.generations import Claimed, Submission, Term
from proxy.guard import Incoming, Message
from proxy.routing import Leg, Offer, leg_of
from proxy.runtime import Runtime
from proxy.surfaces import generate
from proxy.till import Ask, Bill, Closing
from proxy.wire.call import Call

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 64
START_TIMEOUT_S = 15.0
# Shorter than a supervisor's patience with a process that was told to stop.
DRAIN_S = 8.0


class Maker:
    """Makes this process's generations; nothing is begun before the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.slots = threading.BoundedSemaphore(MOST_AT_ONCE)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.runtime: Runtime
        self.tasks: set[asyncio.Task[None]] = set()

    def begin(self, generation_id: UUID) -> bool:
        """
        Begin to make a generation; False where this process is full.

        :raises psycopg.Error: the database is away
        """
        if not self.slots.acquire(blocking=False):
            return False
        try:
            loop = self._running_loop()
            loop.call_soon_threadsafe(self._begin, generation_id)
        except BaseException:
            self.slots.release()
            raise
        return True

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self.lock:
            if self.loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="maker", daemon=True).start()
                runtime = Runtime()
                try:
                    started = asyncio.run_coroutine_threadsafe(runtime.start(), loop)
                    started.result(START_TIMEOUT_S)
                except BaseException:
                    loop.call_soon_threadsafe(loop.stop)
                    raise
                self.loop, self.runtime = loop, runtime
            return self.loop

    def _begin(self, generation_id: UUID) -> None:
        task = asyncio.get_running_loop().create_task(self._make(generation_id))
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self.slots.release()

    async def _make(self, generation_id: UUID) -> None:
        try:
            await make(self.runtime, generation_id)
        except Exception as error:
            # Its hold stays until the sweep settles it on evidence.
            name = ids.form("gen_", generation_id)
            log.exception("A generation failed", id=name, error=type(error).__name__)

    def stop(self) -> None:
        """Let what is being made finish for a while, then give the rest up."""
        with self.lock:
            loop, self.loop = self.loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._stop(), loop).result(DRAIN_S * 3)
            loop.call_soon_threadsafe(loop.stop)

    async def _stop(self) -> None:
        if self.tasks:
            _, left = await asyncio.wait(set(self.tasks), timeout=DRAIN_S)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        await self.runtime.stop()


MAKER = Maker()


@worker_process_shutdown.connect
@worker_shutdown.connect
def stop_making(**kwargs: object) -> None:
    """End this process's runtime with the process."""
    MAKER.stop()


async def make(runtime: Runtime, generation_id: UUID) -> None:
    """
    Make a generation if nobody else has begun to.

    :raises psycopg.Error: the database is away
    """
    claimed = await generations.claim(
        runtime.reader, id=generation_id, process_id=runtime.process_id
    )
    if claimed is None:
        return
    try:
        exchange = resumed(runtime, claimed)
    except ApiError as error:
        bill = Bill(id=claimed.id, day=claimed.day, state="voided", reason=error.reason)
        await runtime.durable(Closing(bill))
        await generations.fail(runtime.reader, id=claimed.id, error=error.error())
        return
    try:
        await generate.make(exchange)
    except ApiError as error:
        log.info("A generation was refused", id=exchange.answer_id, reason=error.reason)


def resumed(runtime: Runtime, claimed: Claimed) -> Exchange:
    """
    Return the exchange that a gateway admitted.

    :raises ApiError: what it needs is not there any more
    """
    submission = opened(claimed)
    caller = caller_of(claimed, submission)
    exchange = Exchange(
        runtime=runtime,
        incoming=incoming_of(claimed.id),
        caller=caller,
        call=submission.call,
        offer=offer_of(runtime, submission),
        hold=hold_of(claimed, submission),
        surface=generate.GENERATE,
        headers={},
        said=submission.said,
    )
    exchange.before_charge = generate.drafted
    return exchange


def opened(claimed: Claimed) -> Submission:
    """
    Return what was submitted.

    :raises ApiError: the key that sealed it is not configured here, or a later version wrote it
    """
    try:
        return json.decode(crypto.unseal(claimed.sealed, claimed.sealed_by), type=Submission)
    except MsgspecError as error:
        # Not its text, which may quote what was submitted.
        log.error("A generation cannot be read", error=type(error).__name__)
        raise generations.lost() from error
    except UnreadableSecret as error:
        log.error("A generation cannot be read", error=str(error))
        raise generations.lost() from error


def offer_of(runtime: Runtime, submission: Submission) -> Offer:
    """
    Return the routes that were admitted and still exist, in their order and on their terms.

    Nothing is chosen again: not by price, health or preference.

    :raises ApiError: none is left
    """
    on_sale = {
        route.id: (model, route)
        for model in runtime.catalogue.models.values()
        for route in model.routes
    }
    legs = tuple(
        _leg(model, route, submission.call, term)
        for term in submission.terms
        if term.route_id in on_sale
        for model, route in (on_sale[term.route_id],)
    )
    if not legs:
        message = f"No route serves {submission.call.model!r} any more."
        raise ApiError("model_not_found", message, param="model")
    return Offer(legs=legs, least=None)


def _leg(model: Model, route: Route, call: Call, term: Term) -> Leg:
    """Return a leg on a term; bounds that an earlier version did not keep are today's."""
    leg = leg_of(model, structs.replace(route, price_id=term.price_id, rates=term.rates), call)
    if term.prompt_tokens is None or term.output_tokens is None:
        return leg
    return structs.replace(leg, prompt_tokens=term.prompt_tokens, output_tokens=term.output_tokens)


def hold_of(claimed: Claimed, submission: Submission) -> Hold:
    """Return the hold that was taken at submission and is now this process's."""
    ask = Ask(
        id=claimed.id,
        account=claimed.account_id,
        usd_account=claimed.usd_account_id,
        workspace=claimed.workspace_id,
        key=claimed.key_id,
        version=0,
        want=claimed.amount,
        need=claimed.amount,
        unit=claimed.unit_nanos,
        ttl=settings.HOLD_TTL_S,
        process=0,
        model=claimed.model,
        price=claimed.price_id,
        surface=generate.GENERATE.name,
    )
    nanos = claimed.amount * claimed.unit_nanos
    return Hold(ask, claimed.day, nanos, submission.output_limit)


def caller_of(claimed: Claimed, submission: Submission) -> Caller:
    """Return who submitted; whether the key may call the model was judged at admission."""
    key = KeyRecord(
        id=claimed.key_id,
        public_id="",
        version=0,
        kind="standard",
        scopes=frozenset({"chat"}),
        models=None,
        rpm=None,
        tpm=submission.tpm,
        ips=(),
        expires_at=None,
        disabled=False,
        deleted=False,
        owner_active=True,
        user_id=None,
        service_account_id=None,
        workspaces=(),
    )
    workspace = KeyWorkspace(
        id=claimed.workspace_id,
        public_id="",
        external_id=None,
        role="",
        scopes=key.scopes,
        rpm=0,
        closed=False,
    )
    return Caller(key, workspace, claimed.usd_account_id, claimed.account_id)


def incoming_of(generation_id: UUID) -> Incoming:
    """Return a request whose caller never hangs up and reads nothing."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/api/v2/generate",
        "query_string": b"",
        "headers": [],
        "client": None,
    }
    incoming = Incoming(scope, _never, _nowhere)
    incoming.id = generation_id
    return incoming


async def _never() -> Message:
    await asyncio.Event().wait()
    return {}


async def _nowhere(message: Message) -> None:
    return
