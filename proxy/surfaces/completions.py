"""``POST completions``: OpenAI's legacy endpoint, served by chat models."""

from __future__ import annotations

from typing import Any

import msgspec

from common import ids
from proxy.exchange import Exchange
from proxy.guard import MEGABYTE
from proxy.routing import Leg
from proxy.surfaces.base import Outcome
from proxy.wire import answers, sse
from proxy.wire import completions as wire
from proxy.wire.answers import Completion
from proxy.wire.call import Call

FINISHES = ("stop", "length", "content_filter")


class Completions:
    """Text completions, paid in US dollars."""

    name = "completions"
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
        """Return a text completion."""
        echo = exchange.call.asked["echo"]
        choices = [
            choice_of(
                choice.get("index") or 0,
                echo + text_of(choice["message"]),
                choice.get("finish_reason") or "stop",
            )
            for choice in completion.fields["choices"]
        ]
        usage = answers.usage_object(outcome.usage, cost=outcome.cost)
        head = head_of(exchange, exchange.name_of(outcome.leg))
        return msgspec.json.encode({**head, "choices": choices, "usage": usage})

    def rendering(self, exchange: Exchange) -> CompletionsRendering:
        """Return what writes one stream."""
        return CompletionsRendering(exchange)


class CompletionsRendering:
    """A stream of text_completion events."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.include_usage = exchange.call.include_usage
        self.model = exchange.call.model
        self.echoed: set[int] = set()
        self.open: set[int] = set()

    def chunk(self, chunk: dict[str, Any], leg: Leg) -> bytes:
        """Return one event for what a chunk tells; what is no text is left out."""
        self.model = self.exchange.name_of(leg)
        choices = [self._choice(choice) for choice in chunk["choices"]]
        for choice in choices:
            (self.open.discard if choice["finish_reason"] else self.open.add)(choice["index"])
        told = [one for one in choices if one["text"] or one["finish_reason"]]
        if not told:
            return b""
        return self._event(choices=told, **({"usage": None} if self.include_usage else {}))

    async def end(self, outcome: Outcome) -> bytes:
        """Return the usage event, where it was asked for, and [DONE]."""
        # Some providers say [DONE] without an end; clients wait for one of each choice.
        ends = [choice_of(index, "", "stop") for index in sorted(self.open)]
        told = self._event(choices=ends) if ends else b""
        if self.include_usage:
            usage = answers.usage_object(outcome.usage, cost=outcome.cost)
            told += self._event(choices=[], usage=usage)
        return told + sse.DONE

    async def broken(self, error: dict[str, Any]) -> bytes:
        """Return an event with the error; official SDKs raise on it."""
        choice = {"text": "", "index": 0, "logprobs": None, "finish_reason": "error"}
        return self._event(choices=[choice], error=error)

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        index = choice.get("index") or 0
        text = text_of(choice.get("delta") or {})
        if index not in self.echoed:
            self.echoed.add(index)
            text = self.exchange.call.asked["echo"] + text
        return choice_of(index, text, choice.get("finish_reason"))

    def _event(self, **fields: Any) -> bytes:
        return sse.event(msgspec.json.encode(head_of(self.exchange, self.model) | fields))


def head_of(exchange: Exchange, model: str) -> dict[str, Any]:
    """Return what every answer and event begins with."""
    return {
        "id": ids.form("cmpl-", exchange.incoming.id),
        "object": "text_completion",
        "created": exchange.created,
        "model": model,
    }


def text_of(said: dict[str, Any]) -> str:
    """Return the text of a message or delta; a refusal is one."""
    return str(said.get("content") or said.get("refusal") or "")


def choice_of(index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
    """Return one choice; a reason that text completions do not know is a stop."""
    if finish_reason is not None and finish_reason not in FINISHES:
        finish_reason = "stop"
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}


COMPLETIONS = Completions()
