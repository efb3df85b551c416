"""
A stream of pictures as OpenAI sends it; the base64 in it is never unpacked.

Reference: https://platform.openai.com/docs/api-reference/images-streaming
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from proxy.wire.answers import Garbage, Usage
from proxy.wire.call import Call
from proxy.wire.images import COMPLETED, PARTIAL
from proxy.wire.results import pictures_made

# Three partial pictures are the most that can be asked for; twice as many events are a fault.
MOST_EVENTS_A_PICTURE = 8


class PictureReader:
    """Reads the events of one stream, counts whole pictures."""

    def __init__(self, call: Call) -> None:
        self.expected = call.images
        self.events = 0
        self.made = 0
        self.usage: Usage | None = None
        self.prompt: Usage | None = None
        self.contradicted = False
        self.size_bytes = 0
        self.finished = False
        self.done = False
        self.upstream_id = ""
        self.error: dict[str, Any] | None = None
        self.contradicted = False

    def read(self, data: bytes) -> list[dict[str, Any]]:
        """
        Take one event's data; return it with its values as they came, but for its type.

        :raises Garbage: neither a picture nor an error
        """
        if data.strip() == b"[DONE]":
            self.done = True
            return []
        try:
            event = msgspec.json.decode(data, type=dict[str, Raw])
            name = msgspec.json.decode(event.get("type", Raw(b"null")))
            self.error = _error(event, name)
            return [] if self.error is not None else self._picture(event, name)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Garbage("not JSON") from None

    def _picture(self, event: dict[str, Raw], name: str) -> list[dict[str, Any]]:
        if name not in (PARTIAL, COMPLETED):
            return []
        size = len(memoryview(event.get("b64_json", Raw(b""))))
        self.events += 1
        if size <= len('""') or self.events > MOST_EVENTS_A_PICTURE * self.expected:
            raise Garbage("no picture, or too many")
        self.size_bytes += size
        if name == COMPLETED:
            self._count(event)
        return [event | {"type": name}]

    def _count(self, event: dict[str, Raw]) -> None:
        self.made += 1
        told: dict[str, Any] = {
            name: msgspec.json.decode(event[name]) for name in ("size", "quality") if name in event
        }
        self.usage = pictures_made(self.made, told)
        self.finished = self.done = self.made >= self.expected


def _error(event: dict[str, Raw], name: object) -> dict[str, Any] | None:
    told = msgspec.json.decode(event["error"]) if "error" in event else None
    if not told and name != "error":
        return None
    return told if isinstance(told, dict) else {"message": str(told)}
