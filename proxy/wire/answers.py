"""
What an OpenAI-compatible upstream answers: usage, completions, chunks of a stream.

Reference: https://platform.openai.com/docs/api-reference/chat/object and …/streaming
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

BYTES_PER_TOKEN = 4
MOST_SEARCHES = 2**15
# With which an answer ends, in OpenAI's words, and what other providers say for them.
ENDS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
LENGTH, FILTER, TOOLS = "length", "content_filter", "tool_calls"
FOREIGN_ENDS = {
    **dict.fromkeys(("max_tokens", "model_length", "max_output_tokens", "context_length"), LENGTH),
    **dict.fromkeys(("time_limit", "insufficient_system_resource"), LENGTH),
    **dict.fromkeys(("safety", "recitation", "refusal", "content-filter", "blocklist"), FILTER),
    **dict.fromkeys(("tool_use", "tool_call", "tool-calls"), TOOLS),
}


class Garbage(Exception):
    """The upstream sent something that is not an answer."""


class Usage(Struct, frozen=True):
    """
    Token counts in disjoint buckets; ``reasoning`` lies inside ``output``.

    Of pictures: how many were made, and which size and quality the provider told.
    """

    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int
    pictures: int = 0
    size: str = ""
    quality: str = ""
    # Web searches, None where the provider does not tell them.
    searches: int | None = None


NO_USAGE = Usage(input=0, cached=0, cache_write=0, output=0, reasoning=0)


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
        searches=searches_told(usage),
    )


def searches_told(usage: dict[str, Any]) -> int | None:
    """Return the web searches that a usage object counts, in the words of several providers."""
    inside = usage.get("server_tool_use")
    told = inside.get("web_search_requests") if isinstance(inside, dict) else None
    if told is None:
        told = usage.get("num_search_queries")
    return told if type(told) is int and 0 <= told < MOST_SEARCHES else None


def believed(usage: Usage | None, size_bytes: int) -> Usage | None:
    """Return a usage, None where it denies that there was an answer that we have."""
    return None if usage is not None and size_bytes and not usage.output else usage


def clean_id(value: Any) -> str:
    """Return a provider's id as text that every store takes."""
    return "".join(letter for letter in str(value or "")[:200] if letter.isprintable())


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
    calls = delta.get("tool_calls")
    # ``function_call`` is the old form, ``custom`` a tool of free text.
    called = [delta.get("function_call")]
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            called += [call.get("function"), call.get("custom")]
    for each in called:
        if isinstance(each, dict):
            texts = (each.get(name) for name in ("name", "arguments", "input"))
            size += sum(len(text.encode()) for text in texts if isinstance(text, str))
    return size


class Completion(Struct):
    """
    A whole answer, ready to be sent on.

    ``contradicted``: the provider told a usage that cannot be true.
    """

    fields: dict[str, Any]
    usage: Usage | None
    size_bytes: int
    upstream_id: str
    error: dict[str, Any] | None = None
    contradicted: bool = False


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
    size = 0
    choices = fields.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Garbage("no choices")
    if (error := failed(choices)) is not None:
        return Completion({}, None, 0, "", error=error)
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            raise Garbage("a choice without a message")
        mend(choice, position=position)
        size += text_bytes(choice["message"])
    usage = believed(read_usage(fields.get("usage")), size)
    return Completion(
        fields,
        usage,
        size,
        clean_id(fields.get("id")),
        contradicted=bool(fields.get("usage")) and usage is None,
    )


def mend(choice: dict[str, Any], *, position: int) -> None:
    """
    Bring a choice into the documented shape: clients rely on all of its fields.

    :raises Garbage: it cannot be brought there
    """
    if type(choice.get("index")) is not int:
        choice["index"] = position
    message = choice["message"]
    message.setdefault("role", "assistant")
    message.setdefault("content", None)
    mend_words(message)
    for call in message.get("tool_calls") or ():
        if call.get("function") is not None:
            call.setdefault("type", "function")
    mend_end(choice)
    # It is whole, so it has ended.
    ended = TOOLS if message.get("tool_calls") else "stop"
    choice["finish_reason"] = choice.get("finish_reason") or ended


def mend_words(told: dict[str, Any]) -> None:
    """
    Bring what a message or delta says into text: some give it in parts, arguments as objects.

    :raises Garbage: it cannot be brought there
    """
    content = told.get("content")
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        told["content"] = "".join(part for part in parts if isinstance(part, str))
    elif content is not None and not isinstance(content, str):
        raise Garbage("a content that is no text")
    calls = told.get("tool_calls") or []
    if not isinstance(calls, list):
        raise Garbage("tool calls that are no list")
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else call
        if not isinstance(function, dict | None) or call is None:
            raise Garbage("a tool call that is no object")
        if function is not None and isinstance(function.get("arguments"), dict):
            function["arguments"] = msgspec.json.encode(function["arguments"]).decode()


def mend_end(choice: dict[str, Any]) -> None:
    """
    Put the word with which a choice ends, if it ends, into OpenAI's.

    :raises Garbage: it is no word
    """
    word = choice.get("finish_reason")
    if word is None:
        return
    if not isinstance(word, str):
        raise Garbage("a finish_reason that is no word")
    if word not in ENDS:
        choice["finish_reason"] = FOREIGN_ENDS.get(word.lower(), "stop") if word else None


def failed(choices: list[Any]) -> dict[str, Any] | None:
    """Return the error of a choice that ended in one: whatever it says is not an answer."""
    for choice in choices:
        if isinstance(choice, dict) and choice.get("finish_reason") == "error":
            error = choice.get("error")
            return error if isinstance(error, dict) else {"message": "finish_reason: error"}
    return None


def finish_reason(fields: dict[str, Any]) -> str:
    """Return the word with which an answer, or a chunk, ends its first choice that has ended."""
    for choice in fields.get("choices") or ():
        if word := choice.get("finish_reason"):
            return str(word)
    return ""


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
