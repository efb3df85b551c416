"""``POST images/generations``, as OpenAI documents it: dall-e-3, gpt-image-1 and the like."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from proxy.exchange import Exchange
from proxy.guard import MEGABYTE
from proxy.routing import Leg
from proxy.surfaces.base import Outcome
from proxy.wire import images as wire
from proxy.wire import results, sse
from proxy.wire.answers import Completion
from proxy.wire.call import Call
from proxy.wire.told import PICTURE_USAGE, only

# What a caller is told of a provider's answer; nothing else travels on.
TOLD = ("background", "output_format", "quality", "size")
TOLD_IN_EVENTS = (
    "b64_json",
    "created_at",
    "size",
    "quality",
    "background",
    "output_format",
    "partial_image_index",
)


class Images:
    """Pictures, paid by the piece in US dollars."""

    name = "images"
    scope = "images"
    asset = "USD"
    limit_bytes = MEGABYTE

    def parse(self, body: bytes) -> Call:
        """
        Read and check a body.

        :raises proxy.wire.call.BadRequest: refused
        """
        return wire.parse(body)

    async def whole(self, exchange: Exchange, completion: Completion, outcome: Outcome) -> bytes:
        """Return the pictures as the provider encoded them."""
        fields = completion.fields
        told = {name: fields[name] for name in TOLD if fields.get(name) is not None}
        told["data"] = results.pictures_of(fields["data"])
        usage = fields.get("usage")
        if isinstance(usage, dict):
            told["usage"] = priced(usage, outcome)
        return msgspec.json.encode({"created": exchange.created, **told})

    def rendering(self, exchange: Exchange) -> ImagesRendering:
        """Return what writes one stream."""
        return ImagesRendering()


class ImagesRendering:
    """
    A stream of partial and whole pictures.

    A whole picture waits for what comes after it: the last is sent once it is settled.
    """

    def __init__(self) -> None:
        self.held: dict[str, Any] | None = None

    def chunk(self, chunk: dict[str, Any], leg: Leg) -> bytes:
        """Return the events before this one, and a partial picture at once."""
        before = self._release()
        if chunk["type"] == wire.COMPLETED:
            self.held = chunk
            return before
        return before + _event(chunk)

    async def end(self, outcome: Outcome) -> bytes:
        """Return the last whole picture with what it cost; there is no [DONE]."""
        return self._release(outcome)

    async def broken(self, error: dict[str, Any]) -> bytes:
        """Return whole pictures that are paid for, then the error; official SDKs raise on it."""
        told = msgspec.json.encode({"type": "error", "error": error})
        return self._release() + sse.event(told, name="error")

    def _release(self, outcome: Outcome | None = None) -> bytes:
        held, self.held = self.held, None
        return b"" if held is None else _event(held, outcome)


def _event(chunk: dict[str, Any], outcome: Outcome | None = None) -> bytes:
    name = chunk["type"]
    told = {field: chunk[field] for field in TOLD_IN_EVENTS if field in chunk}
    if "usage" in chunk:
        usage = msgspec.json.decode(chunk["usage"])
        if isinstance(usage, dict):
            told["usage"] = priced(usage, outcome) if outcome else only(usage, PICTURE_USAGE)
    return sse.event(msgspec.json.encode({"type": name, **told}), name=name)


def priced(usage: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Return a provider's counts with the price paid: a number of US dollars."""
    return {**only(usage, PICTURE_USAGE), "cost": Raw(outcome.cost.encode())}


IMAGES = Images()
