"""``POST responses``, as OpenAI documents it, without its memory."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.exchange import Exchange
from proxy.guard import MEGABYTE
from proxy.surfaces import responseparts as parts
from proxy.surfaces.base import Outcome
from proxy.surfaces.responsestream import ResponseRendering
from proxy.wire import responses as wire
from proxy.wire.answers import Completion
from proxy.wire.call import Call


class Responses:
    """Responses from chat models, paid in US dollars."""

    name = "responses"
    scope = "chat"
    asset = "USD"
    limit_bytes = 20 * MEGABYTE

    def parse(self, body: bytes) -> Call:
        """
        Read and check a body.

        :raises proxy.wire.call.BadRequest: refused
        """
        return wire.parse(body)

    async def whole(self, exchange: Exchange, completion: Completion, outcome: Outcome) -> bytes:
        """Return a response object."""
        choice = completion.fields["choices"][0]
        end = parts.ending(choice.get("finish_reason"))
        output = items(exchange, choice["message"], status=end["status"])
        if (memory := parts.memory(exchange, output)) is not None:
            output.append(memory)
        answer = parts.response_of(
            exchange,
            model=exchange.name_of(outcome.leg),
            output=output,
            usage=parts.usage_of(outcome),
            **end,
        )
        return msgspec.json.encode(answer)

    def rendering(self, exchange: Exchange) -> ResponseRendering:
        """Return what writes one stream."""
        return ResponseRendering(exchange)


def items(exchange: Exchange, message: dict[str, Any], *, status: str) -> list[dict[str, Any]]:
    """Return the items of an answer: what is said, then the calls."""
    told: list[dict[str, Any]] = []
    said = [
        part(message[name])
        for name, part in (("content", parts.text_part), ("refusal", parts.refusal_part))
        if isinstance(message.get(name), str) and message[name]
    ]
    calls = message.get("tool_calls") or []
    if said or not calls:
        said = said or [parts.text_part()]
        told.append(
            parts.message_item(parts.item_id(exchange, "msg_", 0), status=status, parts=said)
        )
    for call in calls:
        function = call.get("function") or {}
        told.append(
            parts.call_item(
                parts.item_id(exchange, "fc_", len(told)),
                status=status,
                call_id=str(call.get("id") or f"call_{len(told)}"),
                name=str(function.get("name") or ""),
                arguments=str(function.get("arguments") or ""),
            )
        )
    return told


RESPONSES = Responses()
