"""
What Gemini answers, whole or streamed, as OpenAI's chat completion.

A stream's events have the shape of whole answers; there is no event that ends it.

Reference: https://ai.google.dev/api/generate-content#generatecontentresponse
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import structs

from proxy.upstreams.canonical import chunk, completed, count, json_object
from proxy.upstreams.gemini_search import Grounding
from proxy.wire.answers import Completion, Garbage, Usage, believed, clean_id, text_bytes

FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "ESCALATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
UNFINISHED = (None, "", "FINISH_REASON_UNSPECIFIED")
COUNTS = (
    "promptTokenCount",
    "cachedContentTokenCount",
    "toolUsePromptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
)


def completion(body: bytes) -> Completion:
    """
    Read a whole answer.

    :raises Garbage: not an answer
    """
    told = json_object(body)
    if (error := error_of(told)) is not None:
        return Completion({}, None, 0, "", error=error)
    candidate = _candidate(told)
    reason = candidate.get("finishReason")
    if reason in UNFINISHED:
        raise Garbage("no finish reason")
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    calls: list[dict[str, Any]] = []
    for delta in _deltas(candidate):
        for name, value in delta.items():
            if name == "tool_calls":
                calls += value
            else:
                message[name] = (message.get(name) or "") + value
    if calls:
        message["tool_calls"] = calls
    grounding = Grounding()
    if cited := grounding.read(told, words=message["content"] or ""):
        message["annotations"] = cited
    return completed(
        message,
        finish_reason=_finish(reason, called=bool(calls)),
        told=told.get("usageMetadata"),
        usage=read_usage(told.get("usageMetadata"), searches=grounding.searches),
        upstream_id=clean_id(told.get("responseId")),
    )


def error_of(told: dict[str, Any]) -> dict[str, Any] | None:
    """Return why there is no answer: an error, a blocked prompt, an answer that failed."""
    if error := told.get("error"):
        return error if isinstance(error, dict) else {"message": str(error)}
    match told:
        case {"promptFeedback": {"blockReason": str(reason)}} if not told.get("candidates"):
            return {"code": "content_filter", "message": reason}
        case {"candidates": [{"finishReason": str(reason)}, *_]} if (
            reason not in FINISH and reason not in UNFINISHED
        ):
            return {"code": "no_answer", "message": reason}
    return None


def _candidate(told: dict[str, Any]) -> dict[str, Any]:
    match told:
        case {"candidates": [dict(candidate), *_]}:
            return candidate
    raise Garbage("no candidates")


def _finish(reason: Any, *, called: bool) -> str:
    finish = FINISH[reason]
    return "tool_calls" if called and finish == "stop" else finish


def _deltas(candidate: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what each part of a candidate says; kinds that are not known are passed over."""
    content = candidate.get("content") or {}
    parts = content.get("parts") if isinstance(content, dict) else None
    if parts is not None and not isinstance(parts, list):
        raise Garbage("parts that are no list")
    for part in parts or ():
        match part:
            case {"text": str(text), "thought": True}:
                if text:
                    yield {"reasoning": text}
            case {"text": str(text)}:
                if text:
                    yield {"content": text}
            case {"functionCall": {"name": str(name), **function}}:
                yield {"tool_calls": [_call(name, function, part)]}
            case dict():
                continue
            case _:
                raise Garbage("a part that is not an object")


def _call(name: str, function: dict[Any, Any], part: dict[Any, Any]) -> dict[str, Any]:
    """Return a tool call; its signature travels as Google's own OpenAI surface has it."""
    arguments = msgspec.json.encode(function.get("args") or {}).decode()
    call: dict[str, Any] = {
        "id": str(function.get("id") or f"call_{secrets.token_hex(12)}"),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
    if signature := part.get("thoughtSignature"):
        call["extra_content"] = {"google": {"thought_signature": signature}}
    return call


def read_usage(usage: Any, *, searches: int | None = None) -> Usage | None:
    """
    Split a usage object into buckets; None where it contradicts itself.

    Cached tokens lie inside the prompt; thoughts are outside the candidates, inside output.
    ``searches`` were told beside it.
    """
    if not isinstance(usage, dict) or usage.get("promptTokenCount") is None:
        return None
    counts = [count(usage.get(name)) for name in COUNTS]
    if None in counts:
        return None
    prompt, cached, tools, told, thoughts = (one or 0 for one in counts)
    total = usage.get("totalTokenCount")
    if cached > prompt or (total is not None and total != prompt + tools + told + thoughts):
        return None
    return Usage(
        input=prompt - cached + tools,
        cached=cached,
        cache_write=0,
        output=told + thoughts,
        reasoning=thoughts,
        searches=searches,
    )


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
        self.tools = 0
        self.begun = False
        self.counted = False
        self.words = ""
        self.grounding = Grounding()

    @property
    def contradicted(self) -> bool:
        """Tell whether the usage that was told contradicts itself."""
        return self.finished and self.counted and self.usage is None

    def read(self, data: bytes) -> list[dict[str, Any]]:
        """
        Take one event's data; return the chunks it makes.

        :raises Garbage: neither a part of an answer nor an error
        """
        if not data.strip():
            return []
        told = json_object(data)
        self.upstream_id = self.upstream_id or clean_id(told.get("responseId"))
        self.error = error_of(told)
        if self.error is not None:
            return []
        chunks = list(self._chunks(told))
        for one in chunks:
            self.size_bytes += text_bytes(one["choices"][0]["delta"])
        if told.get("usageMetadata") is not None:
            self._count(told["usageMetadata"])
        elif not chunks and "candidates" not in told:
            raise Garbage("no candidates")
        return chunks

    @property
    def _searches(self) -> int | None:
        """Return the searches that were told; they may be told with the last words only."""
        return self.grounding.searches if self.grounding.queries or self.finished else None

    def _chunks(self, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not told.get("candidates"):
            return
        candidate = _candidate(told)
        if not self.begun:
            self.begun = True
            yield chunk({"role": "assistant", "content": ""})
        for delta in _deltas(candidate):
            for call in delta.get("tool_calls", ()):
                call["index"] = self.tools
                self.tools += 1
            self.words += delta.get("content", "")
            yield chunk(delta)
        cited = self.grounding.read(told, words=self.words)
        if cited and not self.finished:
            yield chunk({"annotations": cited})
        reason = candidate.get("finishReason")
        if reason not in UNFINISHED and not self.finished:
            self.finished = True
            yield chunk({}, finish_reason=_finish(reason, called=self.tools > 0))
        if self.usage is not None and self.usage.searches != self._searches:
            self.usage = structs.replace(self.usage, searches=self._searches)

    def _count(self, usage: Any) -> None:
        """
        Take the count so far: cumulative, so one that shrinks contradicts the one before.

        In the middle of an answer there may be no count of it yet, which says nothing.
        """
        self.counted = True
        counted = read_usage(usage, searches=self._searches)
        if counted is not None and self.usage is not None and counted.output < self.usage.output:
            counted = None
        self.prompt = counted or self.prompt
        counted = believed(counted, self.size_bytes)
        early = self.size_bytes and not usage.get("candidatesTokenCount")
        if self.finished or (counted is not None and not early):
            self.usage = counted
