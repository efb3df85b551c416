"""
What Anthropic answers, whole or streamed, as OpenAI's chat completion.

Reference: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import structs

from proxy.upstreams import thoughts
from proxy.upstreams.canonical import chunk, completed, count, json_object
from proxy.wire.answers import (
    Completion,
    Garbage,
    Usage,
    believed,
    clean_id,
    searches_told,
    text_bytes,
)

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
NOT_EMPTY = ("message_start", "message_delta", "content_block_start", "content_block_delta")
COUNTS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)


def completion(body: bytes) -> Completion:
    """
    Read a whole message.

    :raises Garbage: not a message
    """
    told = json_object(body)
    if told.get("type") == "error":
        return Completion({}, None, 0, "", error=_error(told))
    blocks, reason = told.get("content"), told.get("stop_reason")
    if not isinstance(blocks, list) or not isinstance(reason, str):
        raise Garbage("not a message")
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    for block in blocks:
        _tell(message, block)
    searches = sum(map(_is_search, blocks))
    return completed(
        message,
        finish_reason=FINISH.get(reason, "stop"),
        told=told.get("usage"),
        usage=read_usage(told.get("usage"), searches=searches),
        upstream_id=clean_id(told.get("id")),
    )


def _tell(message: dict[str, Any], block: Any) -> None:
    """Add a content block to a message; kinds that are not known yet are passed over."""
    match block:
        case {"type": "text", "text": str(text)}:
            begin = message["content"] or ""
            message["content"] = begin + text
            if cited := citations_of(block.get("citations"), begin=len(begin), size=len(text)):
                message["annotations"] = [*message.get("annotations", ()), *cited]
        case {"type": "tool_use", "id": str(id_), "name": str(name), "input": arguments}:
            call = {"name": name, "arguments": msgspec.json.encode(arguments).decode()}
            calls = message.setdefault("tool_calls", [])
            calls.append({"id": id_, "type": "function", "function": call})
        case {"type": "thinking", "thinking": str(text)}:
            if text:
                message["reasoning"] = message.get("reasoning", "") + text
            _add_detail(message, text=text, signature=str(block.get("signature") or ""))
        case {"type": "redacted_thinking", "data": str(data)}:
            _add_detail(message, data=data)
        case {"type": str()}:
            return
        case _:
            raise Garbage("a content block without a type")


def _add_detail(message: dict[str, Any], **told: str) -> None:
    details = message.setdefault("reasoning_details", [])
    details.append(thoughts.detail(**told, index=len(details)))


def citations_of(citations: Any, *, begin: int, size: int) -> list[dict[str, Any]]:
    """Return what a text of this size quotes from the web, as OpenAI tells it."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": begin,
                "end_index": begin + size,
                "url": cited["url"],
                "title": str(cited.get("title") or ""),
            },
        }
        for cited in (citations if isinstance(citations, list) else ())
        if isinstance(cited, dict) and isinstance(cited.get("url"), str)
    ]


def _is_search(block: Any) -> bool:
    return (
        isinstance(block, dict)
        and block.get("type") == "server_tool_use"
        and block.get("name") == "web_search"
    )


def read_usage(usage: Any, *, searches: int | None = None) -> Usage | None:
    """
    Split a usage object into buckets; None where it contradicts itself.

    ``input_tokens`` is what was neither read from nor written to the cache; ``searches`` were
    seen in the answer.
    """
    if not isinstance(usage, dict):
        return None
    counts = [count(usage.get(name)) for name in COUNTS]
    details = usage.get("output_tokens_details") or {}
    reasoning = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    if None in counts or reasoning is None or usage.get("output_tokens") is None:
        return None
    fresh, read, written, output = (one or 0 for one in counts)
    if reasoning > output or not _adds_up(usage.get("cache_creation"), written):
        return None
    told = searches_told(usage)
    return Usage(
        input=fresh,
        cached=read,
        cache_write=written,
        output=output,
        reasoning=reasoning,
        searches=searches if told is None else told,
    )


def _adds_up(by_age: Any, written: int) -> bool:
    """Tell whether what was written to the cache is the sum of its parts, if they are told."""
    if by_age is None:
        return True
    if not isinstance(by_age, dict):
        return False
    parts = [count(part) for part in by_age.values()]
    return None not in parts and sum(part or 0 for part in parts) == written


def _error(told: dict[str, Any]) -> dict[str, Any]:
    error = told.get("error")
    return error if isinstance(error, dict) else {"message": str(error)}


class Reader:
    """Reads the events of one stream."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.prompt: Usage | None = None
        self.size_bytes = 0
        self.finished = False
        self.done = False
        self.upstream_id = ""
        self.error: dict[str, Any] | None = None
        self.counts: dict[str, Any] = {}
        self.shrunk = False
        self.tools = 0
        self.details = 0
        self.searches = 0
        self.said = 0
        self.block: dict[str, Any] = {}

    @property
    def contradicted(self) -> bool:
        """Tell whether the usage that was told contradicts itself."""
        return self.finished and "output_tokens" in self.counts and self.usage is None

    def read(self, data: bytes) -> list[dict[str, Any]]:
        """
        Take one event's data; return the chunks it makes.

        :raises Garbage: neither an event nor an error
        """
        if not data.strip():
            return []
        event = json_object(data)
        made = self._made_of(event)
        for one in made:
            self.size_bytes += text_bytes(one["choices"][0]["delta"])
        return made

    def _made_of(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        match event:
            case {"type": "error"}:
                self.error = _error(event)
            case {"type": "message_start", "message": dict(message)}:
                self.upstream_id = clean_id(message.get("id"))
                self._count(message.get("usage"))
                self.prompt = read_usage(self.counts, searches=0)
                # Of an answer that only begins this is no count.
                self.counts.pop("output_tokens", None)
                return [chunk({"role": "assistant", "content": ""})]
            case {"type": "content_block_start", "content_block": dict(block)}:
                return self._begin(block)
            case {"type": "content_block_delta", "delta": dict(delta)}:
                return self._grow(delta)
            case {"type": "content_block_stop"}:
                return self._close()
            case {"type": "message_delta", "delta": dict(delta)}:
                return self._finish(delta, event.get("usage"))
            case {"type": "message_stop"}:
                self.done = True
            case {"type": str(kind)} if kind in NOT_EMPTY:
                raise Garbage("an event without its content")
            # Anthropic adds kinds of events (and pings): those unknown are passed over.
            case {"type": str()}:
                return []
            case _:
                raise Garbage("not an event")
        return []

    def _begin(self, block: dict[str, Any]) -> list[dict[str, Any]]:
        self.block = {"type": block.get("type"), "text": "", "signature": "", "begin": self.said}
        if _is_search(block):
            self.searches += 1
            self.prompt = self.prompt and structs.replace(self.prompt, searches=self.searches)
        match block:
            case {"type": "text", "text": str(text)} if text:
                return [self._say(text)]
            case {"type": "tool_use", "id": str(id_), "name": str(name)}:
                self.block |= {"index": self.tools, "input": block.get("input")}
                self.tools += 1
                call = {"id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
                return [chunk({"tool_calls": [{"index": self.block["index"], **call}]})]
            case {"type": "thinking", "thinking": str(text)} if text:
                return self._grow({"type": "thinking_delta", "thinking": text})
            case {"type": "redacted_thinking", "data": str(data)}:
                return [self._detail(data=data)]
        return []

    def _grow(self, delta: dict[str, Any]) -> list[dict[str, Any]]:
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                return [self._say(text)]
            case {"type": "citations_delta", "citation": dict(citation)}:
                self.block.setdefault("citations", []).append(citation)
            case {"type": "input_json_delta", "partial_json": str(text)} if "index" in self.block:
                self.block["text"] += text
                return [self._arguments(text)] if text else []
            case {"type": "thinking_delta", "thinking": str(text)}:
                self.block["text"] += text
                return [chunk({"reasoning": text})] if text else []
            case {"type": "signature_delta", "signature": str(signature)}:
                self.block["signature"] += signature
        return []

    def _close(self) -> list[dict[str, Any]]:
        block, self.block = self.block, {}
        if block.get("citations"):
            begin = block["begin"]
            cited = citations_of(block["citations"], begin=begin, size=self.said - begin)
            return [chunk({"annotations": cited})] if cited else []
        if block.get("type") == "thinking":
            return [self._detail(text=block["text"], signature=block["signature"])]
        if "index" in block and not block["text"]:
            # A call without arguments has no fragment; OpenAI's is an empty object.
            self.block = block
            return [self._arguments(msgspec.json.encode(block["input"] or {}).decode())]
        return []

    def _say(self, text: str) -> dict[str, Any]:
        self.said += len(text)
        return chunk({"content": text})

    def _arguments(self, text: str) -> dict[str, Any]:
        call = {"index": self.block["index"], "function": {"arguments": text}}
        return chunk({"tool_calls": [call]})

    def _detail(self, **told: str) -> dict[str, Any]:
        self.details += 1
        return chunk({"reasoning_details": [thoughts.detail(**told, index=self.details - 1)]})

    def _finish(self, delta: dict[str, Any], usage: Any) -> list[dict[str, Any]]:
        self._count(usage)
        reason = delta.get("stop_reason")
        if not isinstance(reason, str):
            return []
        usage = None if self.shrunk else read_usage(self.counts, searches=self.searches)
        self.usage = believed(usage, self.size_bytes)
        if self.finished:
            return []
        self.finished = True
        return [chunk({}, finish_reason=FINISH.get(reason, "stop"))]

    def _count(self, usage: Any) -> None:
        """Take counts in: they are cumulative, so one that shrinks contradicts the others."""
        told = usage if isinstance(usage, dict) else {}
        for name, value in told.items():
            before = self.counts.get(name)
            if value is None:
                continue
            if name in COUNTS and type(before) is int and type(value) is int and value < before:
                self.shrunk = True
            self.counts[name] = value
