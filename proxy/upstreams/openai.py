"""Providers that speak OpenAI's API: chat completions, embeddings, images."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from proxy.upstreams.base import ChunkReader, Target
from proxy.upstreams.picturestream import PictureReader
from proxy.upstreams.posting import post
from proxy.upstreams.trouble import refusal
from proxy.wire import results, words
from proxy.wire.answers import (
    Completion,
    Garbage,
    Usage,
    believed,
    clean_id,
    failed,
    mend_end,
    mend_words,
    read_completion,
    read_usage,
    text_bytes,
)
from proxy.wire.call import BadRequest, Call
from proxy.wire.words import Words

UNSUPPORTED: frozenset[str] = frozenset()
KINDS = frozenset({"chat", "embedding", "image"})
BOUNDS_SEARCHES = False
PATHS = {"chat": "chat/completions", "embedding": "embeddings", "image": "images/generations"}


def request(*, target: Target, call: Call) -> httpx.Request:
    """Build the request of one attempt."""
    return post(
        base_url=target.base_url,
        path=PATHS[call.kind],
        body=body(target=target, call=call),
        stream=call.stream,
        request_id=target.request_id,
        headers={"authorization": f"Bearer {target.api_key}"},
    )


def misfit(call: Call) -> BadRequest | None:
    """Return None: it takes every call as it is."""
    return None


def body(*, target: Target, call: Call) -> dict[str, Any]:
    """
    Return the body for a provider: its model name, its name of the limit, usage asked.

    A clamped output limit goes before the caller's own.
    """
    drop = target.drop if target.kind == "sandbox" else target.drop | {"sandbox"}
    fields = {
        name: value for name, value in call.fields.items() if value is not None and name not in drop
    }
    fields["model"] = target.upstream_model
    if "reasoning_effort" in fields:
        # OpenAI's own word for it; OpenRouter's is refused by most.
        fields.pop("reasoning", None)
    if call.kind != "chat":
        return fields
    limit = call.output_limit if target.output_limit is None else target.output_limit
    fields.pop("max_tokens", None)
    fields.pop("max_completion_tokens", None)
    if limit is not None:
        fields[target.limit_name] = limit
    if call.stream:
        options = fields.get("stream_options") or {}
        fields["stream_options"] = {**options, "include_usage": True}
    else:
        fields.pop("stream_options", None)
    return fields


def completion(body: bytes) -> Completion:
    """
    Read a whole answer.

    :raises Garbage: not JSON, or neither choices nor a list of results
    """
    return results.read(body) or read_completion(body)


def reader(call: Call) -> ChunkReader:
    """Return a reader for one stream."""
    if call.kind == "image":
        return PictureReader(call)
    return Reader(choices=call.choices)


class Reader:
    """Reads the chunks of one stream, mends tool calls, keeps count."""

    def __init__(self, *, choices: int = 1) -> None:
        self.choices = choices
        self.usage: Usage | None = None
        self.prompt: Usage | None = None
        self.contradicted = False
        self.size_bytes = 0
        self.finished = False
        self.ended: set[int] = set()
        self.done = False
        self.upstream_id = ""
        self.error: dict[str, Any] | None = None
        self.tools_seen: dict[tuple[int, int], set[str]] = {}
        self.tool_ids: dict[int, list[object]] = {}

    def read(self, data: bytes) -> list[dict[str, Any]]:
        """
        Take one event's data; return the chunk it is.

        :raises Garbage: neither a chunk nor an error
        """
        data = data.strip()
        if data == b"[DONE]":
            self.done = True
            return []
        if not data:
            return []
        chunk = self._decode(data)
        if self.error is not None:
            return []
        choices = chunk.get("choices")
        if choices is None and chunk.get("usage"):
            choices = []
        if not isinstance(choices, list):
            raise Garbage("no choices")
        if chunk.get("usage"):
            self._count(chunk["usage"])
        self.error = failed(choices)
        if self.error is not None:
            return []
        self.upstream_id = self.upstream_id or clean_id(chunk.get("id"))
        for choice in choices:
            self._look_at(choice)
        return [chunk] if choices else []

    def words(self, data: bytes) -> Words | None:
        """Take one event's data if it is nothing but words; None leaves it untaken."""
        found = words.read(data)
        if found is not None:
            self.upstream_id = self.upstream_id or clean_id(found.id)
            self.size_bytes += found.size_bytes
        return found

    def _count(self, told: Any) -> None:
        """Take a usage object: counts are cumulative, so the last tell all and none shrinks."""
        before, usage = self.usage, read_usage(told)
        shrunk = before is not None and usage is not None and usage.output < before.output
        self.usage = None if shrunk else believed(usage, self.size_bytes)
        self.contradicted = self.usage is None

    def _decode(self, data: bytes) -> dict[str, Any]:
        try:
            chunk = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Garbage("not JSON") from None
        if not isinstance(chunk, dict):
            raise Garbage("not an object")
        error = chunk.get("error")
        if error:
            self.error = error if isinstance(error, dict) else {"message": str(error)}
        return chunk

    def _look_at(self, choice: Any) -> None:
        if not isinstance(choice, dict):
            raise Garbage("a choice that is not an object")
        # Clients rely on both fields.
        if type(choice.get("index")) is not int:
            choice["index"] = 0
        message, delta = choice.pop("message", None), choice.get("delta")
        if not isinstance(delta, dict):
            # Some send a message in its place; beside a delta it says the same once more.
            delta = choice["delta"] = message if isinstance(message, dict) else {}
        mend_words(delta)
        self.size_bytes += text_bytes(delta)
        if delta.get("tool_calls"):
            self._mend_tools(choice["index"], delta["tool_calls"])
        mend_end(choice)
        if choice.get("finish_reason"):
            self.ended.add(choice["index"])
            self.finished = len(self.ended) >= self.choices

    def _tool_index(self, choice_index: int, call: dict[str, Any], position: int) -> int:
        """Return the index of a fragment that has none: a new id opens a call, none goes on."""
        opened = self.tool_ids.setdefault(choice_index, [])
        name = call.get("id")
        if name is None:
            return max(len(opened) - 1, position)
        if name not in opened:
            opened.append(name)
        return opened.index(name)

    def _mend_tools(self, choice_index: int, calls: list[Any]) -> None:
        """Give every fragment an integer index, and each call its id and name once."""
        for position, call in enumerate(calls):
            if type(call.get("index")) is not int:
                call["index"] = self._tool_index(choice_index, call, position)
            seen = self.tools_seen.setdefault((choice_index, call["index"]), set())
            called = call.get("function") or call.get("custom")
            for holder, name in ((call, "id"), (call, "type"), (called, "name")):
                if isinstance(holder, dict) and holder.get(name) is not None:
                    if name in seen:
                        del holder[name]
                    seen.add(name)


__all__ = [
    "BOUNDS_SEARCHES",
    "KINDS",
    "UNSUPPORTED",
    "Reader",
    "completion",
    "misfit",
    "reader",
    "refusal",
    "request",
]
