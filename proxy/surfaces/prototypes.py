"""
``/api/ds-prototypes``, as Neuroflash documents it: chat completions, and a health call.

Its reference types every optional field as an object and sends ``{}`` for each in its own
example, so an empty object means that a field is not given; otherwise the types are OpenAI's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from common.errors import ApiError, retry_headers
from proxy import health
from proxy.connection import in_thread
from proxy.exchange import Exchange
from proxy.routing import Leg
from proxy.surfaces.base import Outcome
from proxy.surfaces.chat import Chat, ChatRendering
from proxy.wire import chat as chat_wire
from proxy.wire.answers import Completion
from proxy.wire.call import BadRequest, Call

if TYPE_CHECKING:
    from proxy.guard import Incoming
    from proxy.runtime import Runtime

REQUIRED = ("model", "messages")
NEEDED = ("database", "redis", "migrations")
THOUGHTS = ("reasoning", "reasoning_content", "reasoning_details")
# How much of an answer's room an effort is: OpenRouter's own table, read backwards.
EFFORTS = ((0.5, "high"), (0.2, "medium"), (0.0, "low"))
USUAL_LIMIT = 8192


class Reasoning(Struct):
    """``reasoning`` in a body, in OpenRouter's words."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    enabled: bool | None = None
    exclude: bool | None = None


class PrototypeRequest(Struct):
    """The fields that /v1 does not have."""

    reasoning: Reasoning | None = None
    structured_outputs: dict[str, Any] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None


class Prototypes(Chat):
    """Chat completions with Neuroflash's parameters."""

    name = "prototypes"

    def parse(self, body: bytes) -> Call:
        """
        Read and check a body.

        :raises proxy.wire.call.BadRequest: refused
        """
        sent = chat_wire.json_object(body)
        fields = {name: sent[name] for name in sent if name in REQUIRED or sent[name] != {}}
        asked = chat_wire.converted(fields, PrototypeRequest)
        fields.pop("structured_outputs", None)
        if asked.structured_outputs is not None:
            fields["response_format"] = structured(asked.structured_outputs, fields)
        exclude = bool(asked.reasoning and asked.reasoning.exclude)
        if asked.reasoning is not None:
            translate(asked.reasoning, fields)
        call = chat_wire.checked(fields)
        undeclared = frozenset({"repetition_penalty"})
        return msgspec.structs.replace(call, undeclared=undeclared, asked={"exclude": exclude})

    async def whole(self, exchange: Exchange, completion: Completion, outcome: Outcome) -> bytes:
        """Return a chat completion, without its thoughts where they are not wanted."""
        if exchange.call.asked["exclude"]:
            for choice in completion.fields["choices"]:
                without_thoughts(choice.get("message"))
        return await super().whole(exchange, completion, outcome)

    def rendering(self, exchange: Exchange) -> PrototypesRendering:
        """Return what writes one stream."""
        return PrototypesRendering(exchange)


class PrototypesRendering(ChatRendering):
    """A stream of chunks, without thoughts where they are not wanted."""

    def chunk(self, chunk: dict[str, Any], leg: Leg) -> bytes:
        """Return one chunk."""
        if self.exchange.call.asked["exclude"]:
            for choice in chunk.get("choices") or ():
                without_thoughts(choice.get("delta"))
        return super().chunk(chunk, leg)


def structured(schema: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """
    Return the ``response_format`` of a JSON Schema, bare or with a name as OpenAI has it.

    :raises BadRequest: there is a response_format already
    """
    if fields.get("response_format") is not None:
        message = "Send either structured_outputs or response_format."
        raise BadRequest("invalid_parameter", message, param="structured_outputs")
    named = isinstance(schema.get("schema"), dict) and isinstance(schema.get("name"), str)
    described = schema if named else {"name": "output", "schema": schema}
    return {"type": "json_schema", "json_schema": described}


def translate(wish: Reasoning, fields: dict[str, Any]) -> None:
    """Say how hard to think in OpenAI's word; the object goes to providers that have words."""
    effort: str | None = wish.effort
    if wish.enabled is False or wish.max_tokens == 0:
        effort = "none"
    elif effort is None and wish.max_tokens is not None:
        room = fields.get("max_completion_tokens") or fields.get("max_tokens") or USUAL_LIMIT
        share = wish.max_tokens / room if isinstance(room, int) and room > 0 else 1.0
        effort = next(name for least, name in EFFORTS if share >= least)
    elif effort is None and wish.enabled:
        effort = fields.get("reasoning_effort") or "medium"
    if effort is None:
        fields.pop("reasoning", None)
    else:
        fields["reasoning_effort"] = effort


def without_thoughts(message: Any) -> None:
    """Take a model's thoughts out of a message or delta."""
    if isinstance(message, dict):
        for name in THOUGHTS:
            message.pop(name, None)


async def healthy(runtime: Runtime, incoming: Incoming) -> None:
    """
    Answer ``GET health``: free, but only for a key and a workspace that it carries.

    :raises ApiError: 401, 403; 503 not ready
    """
    caller = await runtime.doorkeeper.caller(
        headers=incoming.headers, address=incoming.address, scope=None, fresh=True
    )
    lines = await in_thread(health.check_all, NEEDED)
    if missing := [line.name for line in lines if not line.ok]:
        message = f"Not ready: {', '.join(missing)}."
        raise ApiError("store_unavailable", message, headers=retry_headers(after_ms=1000))
    headers = await runtime.limiter.peek(caller)
    await incoming.answer(status=200, body=b'{"status":"ok"}', headers=headers)


PROTOTYPES = Prototypes()
