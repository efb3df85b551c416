"""
``POST /api/v2/generate`` and its status call, as NeuralBox documents them.

Paid in platform tokens. Every generation is a row that its workspace can fetch for a day;
``async`` ones are made by a worker (``proxy.background``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
import structlog
from celery import current_app
from kombu.exceptions import KombuError
from msgspec import Meta, Struct

from billing import pricing
from common import ids
from common.errors import ApiError, bad_parameter
from proxy import forward, generations
from proxy.auth import store_away
from proxy.connection import in_thread
from proxy.endings import CLOSED_BY_CALLER
from proxy.exchange import Exchange
from proxy.generations import AWAY, Row, Submission, Term
from proxy.guard import MEGABYTE, Incoming
from proxy.routing import Leg
from proxy.surfaces.base import Outcome
from proxy.wire import chat as chat_wire
from proxy.wire import sse
from proxy.wire.answers import Completion, Usage
from proxy.wire.call import BadRequest, Call

if TYPE_CHECKING:
    from proxy.runtime import Runtime

log = structlog.get_logger(__name__)

TEMPERATURE = 0.7
TASK = "proxy.tasks.make_generation"
PUBLISH_TIMEOUT_S = 2.0
# Its answer has one text: there is no place in it for these.
PLACELESS = ("tools", "tool_choice", "functions", "function_call", "logprobs")


class Message(Struct):
    """One message, in the three roles of the reference."""

    role: Literal["system", "user", "assistant"]


class GenerateRequest(Struct):
    """The fields that differ from a chat completion's."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    system: str | None = None
    background: bool | None = msgspec.field(default=None, name="async")
    n: Annotated[int, Meta(ge=1, le=1)] | None = None


class Generate:
    """One text for a list of messages, paid in platform tokens."""

    name = "generate"
    scope = "chat"
    asset = "TOK"
    limit_bytes = 20 * MEGABYTE

    def parse(self, body: bytes) -> Call:
        """
        Read and check a body.

        :raises proxy.wire.call.BadRequest: refused
        """
        fields = chat_wire.json_object(body)
        asked = chat_wire.converted(fields, GenerateRequest)
        background = bool(asked.background)
        for name in PLACELESS:
            if fields.get(name):
                raise BadRequest("unsupported_parameter", f"{name} is not accepted.", param=name)
        if background and fields.get("stream"):
            message = "A generation is either streamed or async."
            raise BadRequest("invalid_parameter", message, param="async")
        if asked.system:
            system = {"role": "system", "content": asked.system}
            fields["messages"] = [system, *fields["messages"]]
        fields.pop("system", None)
        # Followed here, as nowhere else.
        fields.pop("async", None)
        assumed: frozenset[str] = frozenset()
        if fields.get("temperature") is None:
            fields["temperature"] = TEMPERATURE
            assumed = frozenset({"temperature"})
        call = chat_wire.checked(fields)
        return msgspec.structs.replace(call, background=background, assumed=assumed)

    async def whole(self, exchange: Exchange, completion: Completion, outcome: Outcome) -> bytes:
        """Leave the body until the answer is paid and kept: it tells the balance after it."""
        content = content_of(completion)

        async def paid(outcome: Outcome) -> bytes:
            return (await kept(exchange, outcome, content)).body()

        exchange.after_charge = paid
        return b""

    def rendering(self, exchange: Exchange) -> GenerateRendering:
        """Return what writes one stream."""
        return GenerateRendering(exchange)


class GenerateRendering:
    """A stream of deltas, then the whole object as an answer without a stream has it."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.id = ids.form("gen_", exchange.incoming.id)
        self.parts: list[str] = []

    def chunk(self, chunk: dict[str, Any], leg: Leg) -> bytes:
        """Return the event of a piece of text."""
        text = "".join(map(delta_text, chunk.get("choices") or ()))
        if not text:
            return b""
        self.parts.append(text)
        piece = {"id": self.id, "model": self.exchange.name_of(leg), "delta": text}
        return sse.event(msgspec.json.encode(piece))

    async def end(self, outcome: Outcome) -> bytes:
        """Keep the answer, then return it whole and [DONE]."""
        row = await kept(self.exchange, outcome, "".join(self.parts))
        return sse.event(row.body()) + sse.DONE

    async def broken(self, error: dict[str, Any]) -> bytes:
        """End the generation, then return it as the status call does; no [DONE] follows."""
        row = await generations.fail(
            self.exchange.runtime.reader,
            id=self.exchange.incoming.id,
            error=error,
            model=self.exchange.call.model,
        )
        return sse.event(row.body())


def content_of(completion: Completion) -> str:
    """Return the text of an answer; a refusal is one."""
    message = completion.fields["choices"][0]["message"]
    return text_of(message.get("content")) or text_of(message.get("refusal"))


def delta_text(choice: dict[str, Any]) -> str:
    """Return the text in one choice of a chunk."""
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return ""
    return text_of(delta.get("content")) or text_of(delta.get("refusal"))


def text_of(content: Any) -> str:
    """Return text, also where a provider gives it in parts."""
    if isinstance(content, list):
        return "".join(text_of(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


async def kept(exchange: Exchange, outcome: Outcome, content: str) -> Row:
    """Keep an answer that was settled; return its row."""
    row = await generations.complete(
        exchange.runtime.reader,
        id=exchange.incoming.id,
        model=exchange.name_of(outcome.leg),
        answer=generations.answer_of(content, outcome.usage),
        tokens_used=tokens_used(exchange, outcome),
    )
    exchange.completed = True
    return row


def tokens_used(exchange: Exchange, outcome: Outcome) -> int:
    """Return what was charged, in platform tokens."""
    if outcome.settled is not None and outcome.settled.charged is not None:
        return outcome.settled.charged
    nanos = exchange.charge(outcome.leg, exchange.tokens(outcome.leg, outcome.usage))
    return pricing.units(nanos=nanos, unit_nanos=exchange.hold.ask.unit)


async def answer(exchange: Exchange) -> None:
    """
    Write a generation down, then make it or leave it to a worker.

    :raises ApiError: it failed; its row says so as well
    """
    call = exchange.call
    try:
        await generations.start(
            exchange.runtime.reader,
            id=exchange.incoming.id,
            workspace_id=exchange.caller.workspace.id,
            key_id=exchange.caller.key.id,
            model=call.model,
            submission=submission_of(exchange) if call.background else None,
        )
    except AWAY as error:
        exchange.runtime.till.void(exchange.hold.ask, day=exchange.hold.day)
        exchange.leave()
        raise store_away(error) from error
    except asyncio.CancelledError:
        exchange.leave()
        raise
    if call.background:
        return await submit(exchange)
    await make(exchange)


async def make(exchange: Exchange) -> None:
    """
    Make a generation and end its row; where we die, ``generations.resolve`` ends it.

    :raises ApiError: it failed
    """
    id_, reader = exchange.incoming.id, exchange.runtime.reader
    try:
        await forward.answer(exchange)
    except ApiError as error:
        # Where we are being stopped, or failed after it, the ledger tells later what became of it.
        if error.reason not in ("draining", "internal"):
            await generations.fail(reader, id=id_, error=error.error())
        raise
    if not exchange.completed:
        message = f"The generation broke off. Its receipt is {ids.form('req_', id_)}."
        status = CLOSED_BY_CALLER if exchange.incoming.gone else 502
        log.info("A generation broke off", id=ids.form("gen_", id_), status=status)
        broken = ApiError("stream_interrupted", message)
        await generations.fail(reader, id=id_, error=broken.error())


def submission_of(exchange: Exchange) -> Submission:
    """Return all that a worker needs to make the call as it was admitted."""
    terms = tuple(
        Term(
            leg.route.id,
            leg.route.price_id,
            leg.route.rates,
            leg.prompt_tokens,
            leg.output_tokens,
        )
        for leg in exchange.offer.legs
    )
    tpm = exchange.caller.key.tpm
    return Submission(exchange.call, exchange.hold.output_limit, terms, tpm, exchange.said)


async def submit(exchange: Exchange) -> None:
    """Tell the workers, then answer at once; a task carries the id only."""
    incoming, runtime = exchange.incoming, exchange.runtime
    try:
        row = await generations.find(
            runtime.reader, id=incoming.id, workspace_id=exchange.caller.workspace.id
        )
    except AWAY as error:
        # It is written down, so a worker will make it; only the balance cannot be told.
        log.warning("A balance was not read", error=type(error).__name__)
        row = None
    try:
        async with asyncio.timeout(PUBLISH_TIMEOUT_S):
            await in_thread(publish, incoming.id)
    except TimeoutError:
        log.warning("The workers' queue did not answer; a generation waits for beat")
    row = row or Row(incoming.id, "pending", exchange.call.model, None, 0, None)
    body = row.body()
    if exchange.claim is not None:
        await exchange.claim.keep(body)
    await incoming.answer(status=200, body=body, headers=exchange.headers)


def publish(generation_id: UUID) -> None:
    """Put a generation into the workers' queue; where that fails, beat does it soon."""
    try:
        current_app.send_task(TASK, args=[str(generation_id)], retry=False)
    except (KombuError, OSError) as error:
        log.warning("A generation waits for beat", error=type(error).__name__)


async def drafted(exchange: Exchange, leg: Leg, completion: Completion, usage: Usage) -> None:
    """Keep an answer before it is charged."""
    await generations.draft(
        exchange.runtime.reader,
        id=exchange.incoming.id,
        model=exchange.name_of(leg),
        answer=generations.answer_of(content_of(completion), usage),
    )


async def status(runtime: Runtime, incoming: Incoming) -> None:
    """
    Answer ``GET status?id=`` with a generation of the caller's workspace.

    :raises ApiError: 400 no id; 404 unknown, of another workspace, or over its time
    """
    caller = await runtime.doorkeeper.caller(
        headers=incoming.headers, address=incoming.address, scope=GENERATE.scope, fresh=True
    )
    asked = parse_qs(incoming.scope["query_string"].decode("latin-1")).get("id", [""])[0]
    if not asked:
        raise bad_parameter("Name the generation: ?id=gen_…", param="id")
    id_ = ids.parse_request(asked)
    try:
        row = id_ and await generations.find(
            runtime.reader, id=id_, workspace_id=caller.workspace.id
        )
    except AWAY as error:
        raise store_away(error) from error
    if not row:
        raise ApiError("not_found", "There is no such generation.", param="id")
    headers = {"cache-control": "no-store", **await runtime.limiter.peek(caller)}
    await incoming.answer(status=200, body=row.body(), headers=headers)


GENERATE = Generate()
