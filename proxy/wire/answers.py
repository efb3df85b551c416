"""
What an OpenAI-compatible upstream answers: usage, completions, chunks of a stream.

Reference: https://platform.openai.com/docs/api-reference/chat/object and …/streaming
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

BYTES_PER_TOKEN = 4


class Garbage(Exception):
    """The upstream sent something that is not an answer."""


class Usage(Struct, frozen=True):
    """Token counts in disjoint buckets; ``reasoning`` lies inside ``output``."""

    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int


def read_usage(usage: Any) -> Usage | None:
    """Split a provider's usage object into buckets; None where it contradicts itself."""
    if not isinstance(usage, dict):
        return None
    prompt: Any = usage.get("prompt_tokens")
    completion: Any = usage.get("completion_tokens", 0)
    prompt_details = usage.get("prompt_tokens_details") or {}
    completion_details = usage.get("completion_tokens_details") or {}
    if not isinstance(prompt_details, dict) or not isinstance(completion_details, dict):
        return None
    cached = prompt_details.get("cached_tokens") or 0
    cache_write = prompt_details.get("cache_write_tokens") or 0
    reasoning = completion_details.get("reasoning_tokens") or 0
    counts = (prompt, completion, cached, cache_write, reasoning)
    if any(type(count) is not int or count < 0 or count > 2**31 for count in counts):
        return None
    total = usage.get("total_tokens", prompt + completion)
    if cached + cache_write > prompt or reasoning > completion or total != prompt + completion:
        return None
    return Usage(
        input=prompt - cached - cache_write,
        cached=cached,
        cache_write=cache_write,
        output=completion,
        reasoning=reasoning,
    )


def estimated_tokens(size_bytes: int) -> int:
    """Estimate tokens from UTF-8 bytes, rounded up."""
    return -(-size_bytes // BYTES_PER_TOKEN)


def text_bytes(delta: dict[str, Any]) -> int:
    """Count the bytes of what a message or delta tells the customer."""
    size = 0
    for name in ("content", "reasoning_content", "reasoning", "refusal"):
        text = delta.get(name)
        if isinstance(text, str):
            size += len(text.encode())
    for call in delta.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            for name in ("name", "arguments"):
                if isinstance(function.get(name), str):
                    size += len(function[name].encode())
    return size


class Completion(Struct):
    """A whole answer, ready to be sent on."""

    fields: dict[str, Any]
    usage: Usage | None
    size_bytes: int
    upstream_id: str
    error: dict[str, Any] | None = None


def read_completion(body: bytes) -> Completion:
    """
    Read a non-stream answer.

    :raises Garbage: not JSON, or an object without choices
    """
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Garbage("not JSON") from None
    if not isinstance(fields, dict):
        raise Garbage("not an object")
    if isinstance(fields.get("error"), dict):
        return Completion({}, None, 0, "", error=fields["error"])
    choices = fields.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Garbage("no choices")
    size = 0
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            raise Garbage("a choice without a message")
        size += text_bytes(choice["message"])
    return Completion(
        fields, read_usage(fields.get("usage")), size, str(fields.get("id") or "")[:200]
    )


class StreamReader:
    """Reads the chunks of one stream, rewrites them for the caller, keeps count."""

    def __init__(self, *, answer_id: str, model: str, created: int, include_usage: bool) -> None:
        self.answer_id = answer_id
        self.model = model
        self.created = created
        self.include_usage = include_usage
        self.usage: Usage | None = None
        self.size_bytes = 0
        self.finished = False
        self.upstream_id = ""
        self.error: dict[str, Any] | None = None
        self.tools_seen: dict[tuple[int, int], set[str]] = {}

    def read(self, data: bytes) -> bytes | None:
        """
        Take one event's data; return the event for the caller, None if there is none.

        :raises Garbage: neither a chunk nor an error
        """
        try:
            chunk = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Garbage("not JSON") from None
        if not isinstance(chunk, dict):
            raise Garbage("not an object")
        if chunk.get("error"):
            error = chunk["error"]
            self.error = error if isinstance(error, dict) else {"message": str(error)}
            return None
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            raise Garbage("no choices")
        if chunk.get("usage") is not None:
            self.usage = read_usage(chunk["usage"]) or self.usage
        self.upstream_id = self.upstream_id or str(chunk.get("id") or "")[:200]
        if not choices:
            return None
        self._look_at(choices)
        return self._rewrite(chunk)

    def _look_at(self, choices: list[Any]) -> None:
        for choice in choices:
            if not isinstance(choice, dict):
                raise Garbage("a choice that is not an object")
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self.size_bytes += text_bytes(delta)
                if delta.get("tool_calls"):
                    self._normalise_tools(choice.get("index") or 0, delta["tool_calls"])
            if choice.get("finish_reason"):
                self.finished = True

    def _normalise_tools(self, choice_index: int, calls: list[Any]) -> None:
        """Give every fragment an integer index, and each call its id and name once."""
        for position, call in enumerate(calls):
            if not isinstance(call, dict):
                raise Garbage("a tool call that is not an object")
            if type(call.get("index")) is not int:
                call["index"] = position
            seen = self.tools_seen.setdefault((choice_index, call["index"]), set())
            function = call.get("function")
            for holder, name in ((call, "id"), (call, "type"), (function, "name")):
                if isinstance(holder, dict) and holder.get(name) is not None:
                    if name in seen:
                        del holder[name]
                    seen.add(name)

    def _rewrite(self, chunk: dict[str, Any]) -> bytes:
        chunk["id"] = self.answer_id
        chunk["object"] = "chat.completion.chunk"
        chunk["created"] = self.created
        chunk["model"] = self.model
        if self.include_usage:
            chunk["usage"] = None
        else:
            chunk.pop("usage", None)
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"

    def head(self) -> dict[str, Any]:
        """Return the fields that all our own chunks share."""
        return {
            "id": self.answer_id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }

    def usage_event(self, usage: dict[str, Any]) -> bytes:
        """Return the last chunk for a caller that asked for usage."""
        chunk = {**self.head(), "choices": [], "usage": usage}
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"

    def error_event(self, error: dict[str, Any]) -> bytes:
        """Return the event that tells a caller that the stream broke off."""
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        chunk = {**self.head(), "choices": [choice], "error": error}
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def usage_object(usage: Usage, *, cost: str) -> dict[str, Any]:
    """Write usage as OpenAI does, with the price paid as ``cost``: a number of US dollars."""
    prompt = usage.input + usage.cached + usage.cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        "cost": msgspec.Raw(cost.encode()),
    }
