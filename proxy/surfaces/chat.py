"""``POST chat/completions``, as OpenAI documents it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from proxy.exchange import Exchange
from proxy.guard import MEGABYTE
from proxy.routing import Leg
from proxy.surfaces.base import Outcome
from proxy.wire import answers, sse
from proxy.wire import chat as chat_wire
from proxy.wire import words as wire_words
from proxy.wire.answers import Completion
from proxy.wire.call import Call
from proxy.wire.told import CHOICE, USAGE, asides, only
from proxy.wire.words import Words

COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


class Chat:
    """Chat completions, paid in US dollars."""

    name = "chat"
    scope = "chat"
    asset = "USD"
    limit_bytes = 20 * MEGABYTE

    def parse(self, body: bytes) -> Call:
        """
        Read and check a body.

        :raises proxy.wire.call.BadRequest: refused
        """
        return chat_wire.parse(body)

    async def whole(self, exchange: Exchange, completion: Completion, outcome: Outcome) -> bytes:
        """Return a chat completion under our id and the name that was asked for."""
        fields = {
            "id": exchange.answer_id,
            "object": "chat.completion",
            "created": exchange.created,
            "model": exchange.name_of(outcome.leg),
            **passed_on(completion.fields),
        }
        ours = answers.usage_object(outcome.usage, cost=outcome.cost)
        usage = completion.fields.get("usage") if completion.usage is not None else None
        # Of a provider's own object the details are kept; each count is there, whatever it tells.
        told = {name: ours[name] for name in COUNTS} | only(usage, USAGE) if usage else ours
        fields["usage"] = told | {"cost": ours["cost"]}
        return msgspec.json.encode(fields)

    def rendering(self, exchange: Exchange) -> ChatRendering:
        """Return what writes one stream."""
        return ChatRendering(exchange)


class ChatRendering:
    """A stream of chat.completion.chunk events."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.include_usage = exchange.call.include_usage
        self.id = exchange.answer_id
        self.created = exchange.created
        self.model = exchange.call.model
        self.open: set[int] = set()

    def chunk(self, chunk: dict[str, Any], leg: Leg) -> bytes:
        """Return one chunk under our id and the name that was asked for."""
        self.model = self.exchange.name_of(leg)
        fields = self._head() | passed_on(chunk)
        for choice in fields["choices"]:
            ended = choice.get("finish_reason")
            (self.open.discard if ended else self.open.add)(choice.get("index") or 0)
        if self.include_usage:
            fields["usage"] = None
        return b"".join(sse.event(msgspec.json.encode(each)) for each in told_apart(fields))

    def words(self, words: Words, leg: Leg) -> bytes:
        """Return a chunk of nothing but words, as ``chunk`` would."""
        self.model = self.exchange.name_of(leg)
        self.open.add(words.choices[0].index)
        usage = None if self.include_usage else UNSET
        return wire_words.write(
            words, id=self.id, created=self.created, model=self.model, usage=usage
        )

    async def end(self, outcome: Outcome) -> bytes:
        """Return the usage chunk, where it was asked for, and [DONE]."""
        # Some providers say [DONE] without an end; clients wait for one of each choice.
        ends = [{"index": i, "delta": {}, "finish_reason": "stop"} for i in sorted(self.open)]
        told = self._event(choices=ends) if ends else b""
        if self.include_usage:
            usage = answers.usage_object(outcome.usage, cost=outcome.cost)
            told += self._event(choices=[], usage=usage)
        return told + sse.DONE

    async def broken(self, error: dict[str, Any]) -> bytes:
        """Return a chunk with finish_reason "error" and the error; official SDKs raise on it."""
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        return self._event(choices=[choice], error=error)

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }

    def _event(self, **fields: Any) -> bytes:
        return sse.event(msgspec.json.encode(self._head() | fields))


def passed_on(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what of a provider's answer or chunk a caller may see; no error of a choice."""
    return {**asides(fields), "choices": only(fields["choices"], CHOICE)}


def told_apart(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a chunk, or two where an end comes with last words: an end has an empty delta."""
    choices = fields["choices"]
    if not any(choice.get("finish_reason") and choice.get("delta") for choice in choices):
        return [fields]
    words = [choice | {"finish_reason": None} for choice in choices if says_something(choice)]
    ends = [
        choice | {"delta": {}} | ({"logprobs": None} if "logprobs" in choice else {})
        for choice in choices
        if choice.get("finish_reason")
    ]
    return [fields | {"choices": each} for each in (words, ends) if each]


def says_something(choice: dict[str, Any]) -> bool:
    """Tell whether a choice of a chunk has more than an empty text."""
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(delta.values())


CHAT = Chat()
