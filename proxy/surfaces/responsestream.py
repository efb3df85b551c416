"""
A response as a stream of typed events.

Reference: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.exchange import Exchange
from proxy.routing import Leg
from proxy.surfaces import responseparts as parts
from proxy.surfaces.base import Outcome
from proxy.wire import sse

# What a chunk may say, the part it makes, the part's field and the events' name.
SAYINGS = (
    ("content", parts.text_part, "text", "response.output_text"),
    ("refusal", parts.refusal_part, "refusal", "response.refusal"),
)


class ResponseRendering:
    """Turns the chunks of a chat into items, and items into events."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.model = exchange.call.model
        self.sequence = 0
        self.finish_reason: str | None = None
        self.output: list[dict[str, Any]] = []
        self.open: list[int] = []
        self.calls: dict[int, int] = {}

    def chunk(self, chunk: dict[str, Any], leg: Leg) -> bytes:
        """Return the events of one chunk."""
        self.model = self.exchange.name_of(leg)
        events = self._begin()
        for choice in chunk["choices"]:
            delta = choice.get("delta") or {}
            for field, part, text, event in SAYINGS:
                if delta.get(field):
                    events += self._say(delta[field], part(), text, event)
            for call in delta.get("tool_calls") or ():
                events += self._call(call)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        return events

    async def end(self, outcome: Outcome) -> bytes:
        """Return the ends of all items and of the response; there is no [DONE]."""
        end = parts.ending(self.finish_reason)
        events = self._begin() + self._close_all(status=end["status"])
        if (memory := parts.memory(self.exchange, self.output)) is not None:
            place = len(self.output)
            events += self._add(memory) + self._event(
                "response.output_item.done", output_index=place, item=memory
            )
        response = self._response(usage=parts.usage_of(outcome), **end)
        return events + self._event(f"response.{end['status']}", response=response)

    async def broken(self, error: dict[str, Any]) -> bytes:
        """Return response.failed, then an error: official SDKs raise on it."""
        told = {"code": "server_error", "message": error["message"]}
        events = self._begin()
        for position in self.open:
            self.output[position]["status"] = "incomplete"
        events += self._event(
            "response.failed", response=self._response(status="failed", error=told)
        )
        return events + self._event(
            "error", code=error["reason"], message=error["message"], param=None, error=error
        )

    def _begin(self) -> bytes:
        if self.sequence:
            return b""
        response = self._response(status="in_progress")
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def _say(self, words: str, part: dict[str, Any], field: str, event: str) -> bytes:
        """Add words to the message that is open, or to a new one; a new part where they differ."""
        events = b""
        position = self._open_message()
        if position is None:
            position = len(self.output)
            id = parts.item_id(self.exchange, "msg_", position)
            events += self._add(parts.message_item(id, status="in_progress", parts=[]))
        item = self.output[position]
        said = item["content"]
        if not said or said[-1]["type"] != part["type"]:
            events += self._close_part(position, item)
            said.append(part)
            events += self._part_event("response.content_part.added", position, item, part=part)
        said[-1][field] += words
        more: dict[str, Any] = {"logprobs": []} if field == "text" else {}
        return events + self._part_event(f"{event}.delta", position, item, delta=words, **more)

    def _call(self, call: dict[str, Any]) -> bytes:
        """Add to a call's arguments; calls may take turns, so they stay open to the end."""
        events, index = b"", call["index"]
        function = call.get("function") or {}
        if index not in self.calls:
            if (message := self._open_message()) is not None:
                events += self._close(message)
            position = self.calls[index] = len(self.output)
            item = parts.call_item(
                parts.item_id(self.exchange, "fc_", position),
                status="in_progress",
                call_id=str(call.get("id") or f"call_{position}"),
                name=str(function.get("name") or ""),
            )
            events += self._add(item)
        position = self.calls[index]
        item = self.output[position]
        if words := function.get("arguments"):
            item["arguments"] += words
            events += self._item_event(
                "response.function_call_arguments.delta", position, item, delta=words
            )
        return events

    def _open_message(self) -> int | None:
        return next((n for n in self.open if self.output[n]["type"] == "message"), None)

    def _add(self, item: dict[str, Any]) -> bytes:
        position = len(self.output)
        self.output.append(item)
        self.open.append(position)
        return self._event("response.output_item.added", output_index=position, item=item)

    def _close_all(self, *, status: str = "completed") -> bytes:
        return b"".join(self._close(position, status=status) for position in list(self.open))

    def _close(self, position: int, *, status: str = "completed") -> bytes:
        item = self.output[position]
        self.open.remove(position)
        if item["type"] == "message":
            events = self._close_part(position, item)
        else:
            done = {"arguments": item["arguments"], "name": item["name"]}
            events = self._item_event(
                "response.function_call_arguments.done", position, item, **done
            )
        item["status"] = status
        return events + self._event("response.output_item.done", output_index=position, item=item)

    def _close_part(self, position: int, item: dict[str, Any]) -> bytes:
        if not item["content"]:
            return b""
        part = item["content"][-1]
        _, _, field, event = next(one for one in SAYINGS if one[1]()["type"] == part["type"])
        done: dict[str, Any] = {field: part[field]}
        if field == "text":
            done["logprobs"] = []
        return self._part_event(f"{event}.done", position, item, **done) + self._part_event(
            "response.content_part.done", position, item, part=part
        )

    def _part_event(
        self, event: str, position: int, item: dict[str, Any], /, **fields: Any
    ) -> bytes:
        place = len(item["content"]) - 1
        return self._item_event(event, position, item, content_index=place, **fields)

    def _item_event(
        self, event: str, position: int, item: dict[str, Any], /, **fields: Any
    ) -> bytes:
        return self._event(event, item_id=item["id"], output_index=position, **fields)

    def _event(self, event: str, /, **fields: Any) -> bytes:
        told = {"type": event, "sequence_number": self.sequence, **fields}
        self.sequence += 1
        return sse.event(msgspec.json.encode(told), name=event)

    def _response(self, *, status: str, **more: Any) -> dict[str, Any]:
        return parts.response_of(
            self.exchange, model=self.model, status=status, output=self.output, **more
        )
