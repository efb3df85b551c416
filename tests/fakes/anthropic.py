"""
A fake Anthropic over a real socket: requests are checked by the official SDK's own types.

    with FakeAnthropic() as upstream:
        upstream.script(message(text("hello"), input_tokens=7, output_tokens=2))
        ...call upstream.base_url...

The rules that types do not tell are Anthropic's documented ones; a request that breaks one is
answered as Anthropic does. Without a script a first turn with tools is answered by a call of
the first tool, anything else by text.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from anthropic.types import (
    ContentBlockParam,
    OutputConfigParam,
    TextBlockParam,
    ThinkingConfigParam,
    ToolChoiceParam,
    ToolParam,
    WebSearchTool20250305Param,
)
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from pydantic import TypeAdapter, ValidationError

from tests.fakes.replies import STREAM_HEAD, answer
from tests.fakes.steps import Call, Reply, Step
from tests.fakes.upstream import FakeUpstream

Block = dict[str, Any]

# What the current version of the API, which the SDK types, took away from the one before.
SAMPLING = {"temperature", "top_p", "top_k"}
VERSIONS: dict[str, set[str]] = {"2023-06-01": SAMPLING, "2026-10-21": set()}
FIELDS = set(typing.get_type_hints(MessageCreateParamsStreaming))
ADAPTIVE_ONLY = ("claude-sonnet-5", "claude-opus-5-5")
BUDGET_ONLY = ("claude-haiku-4-5", "claude-sonnet-4-5")

BLOCK: TypeAdapter[Any] = TypeAdapter(ContentBlockParam)
PARTS: dict[str, TypeAdapter[Any]] = {
    "thinking": TypeAdapter(ThinkingConfigParam),
    "output_config": TypeAdapter(OutputConfigParam),
    "tool_choice": TypeAdapter(ToolChoiceParam),
    "tools": TypeAdapter(list[WebSearchTool20250305Param | ToolParam]),
    "system": TypeAdapter(str | list[TextBlockParam]),
    "max_tokens": TypeAdapter(int),
    "stop_sequences": TypeAdapter(list[str]),
}


class FakeAnthropic(FakeUpstream):
    """The upstream; ``base_url`` is what a provider's row has, ``url`` what the SDK takes."""

    def __enter__(self) -> FakeAnthropic:
        super().__enter__()
        return self

    def reply_to(self, call: Call) -> Iterable[Step]:
        """Refuse what Anthropic would, then do as scripted."""
        if (refused := refusal_of(call)) is not None:
            return refused
        scripted = next(iter(self._matching(call)), None)
        return super().reply_to(call) if scripted else default(call)(call)


class Broken(Exception):
    """A rule is broken; says which."""


def refusal_of(call: Call) -> Reply | None:
    """Return the error that Anthropic answers, None where it would serve the call."""
    if call.method != "POST" or call.path.partition("?")[0] != "/v1/messages":
        return failure(404, "not_found_error", "Not found")
    if not {"x-api-key", "authorization"} & call.headers.keys():
        return failure(401, "authentication_error", "x-api-key header is required")
    try:
        check(call.body, version=call.headers.get("anthropic-version", ""))
    except Broken as broken:
        return failure(400, "invalid_request_error", str(broken))
    return None


def check(body: Any, *, version: str) -> None:
    """
    Check a request's body.

    :raises Broken: Anthropic would refuse it
    """
    require(version in VERSIONS, "anthropic-version: header is required")
    for name in body:
        require(name in FIELDS | VERSIONS[version], f"{name}: Extra inputs are not permitted")
    for name in ("model", "max_tokens", "messages"):
        require(name in body, f"{name}: Field required")
    for name, adapter in PARTS.items():
        if name in body:
            validated(adapter, body[name], name)
    blocks = [list(content_of(message)) for message in body["messages"]]
    require(bool(blocks), "messages: at least one message is required")
    check_tools(body, blocks)
    check_thinking(body, blocks)
    for stop in body.get("stop_sequences", ()):
        require(bool(stop.strip()), "stop_sequences: each must contain non-whitespace")
    require(0 <= body.get("temperature", 1) <= 1, "temperature: range: 0..1")


def require(holds: bool, message: str) -> None:
    """
    Insist on a rule.

    :raises Broken: it does not hold
    """
    if not holds:
        raise Broken(message)


def validated(adapter: TypeAdapter[Any], value: Any, place: str) -> None:
    """
    Check a value by the SDK's type.

    :raises Broken: it is not of the type
    """
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        raise Broken(f"{place}: {error.error_count()} errors") from None


def content_of(message: dict[str, Any]) -> Iterator[Block]:
    """
    Yield a message's blocks.

    :raises Broken: one is not a block, or is empty text
    """
    require(message.get("role") in ("user", "assistant"), "messages: unexpected role")
    content = message["content"]
    for block in [text(content)] if isinstance(content, str) else content:
        validated(BLOCK, block, "messages")
        told = block.get("text", "x")
        require(bool(told.strip()), "messages: text content blocks must contain non-whitespace")
        if block["type"] == "tool_result":
            inside = block.get("content", ())
            for part in [text(inside)] if isinstance(inside, str) else inside:
                validated(BLOCK, part, "messages")
        yield block


def check_tools(body: dict[str, Any], turns: list[list[Block]]) -> None:
    """
    Check that every use has its result in the next message, and the other way round.

    :raises Broken: it has not
    """
    uses: set[str] = set()
    for blocks in turns:
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        require(results == uses, "messages: `tool_use` and `tool_result` blocks do not match")
        uses = {block["id"] for block in blocks if block["type"] == "tool_use"}
    require(not uses, "messages: `tool_use` ids were found without `tool_result` blocks")
    kinds = {block["type"] for blocks in turns for block in blocks}
    if kinds & {"tool_use", "tool_result"}:
        require("tools" in body, "Requests which include tool blocks must define tools")


def check_thinking(body: dict[str, Any], turns: list[list[Block]]) -> None:
    """
    Check the rules of thinking.

    :raises Broken: one is broken
    """
    thinking, model = body.get("thinking", {}), body["model"]
    if model in ADAPTIVE_ONLY:
        require(thinking.get("type") != "enabled", '"thinking.type.enabled" is not supported')
        require(not SAMPLING & body.keys(), "temperature is deprecated for this model")
    if model in BUDGET_ONLY:
        require(thinking.get("type") != "adaptive", "adaptive thinking is not supported")
        require("effort" not in body.get("output_config", {}), "effort is not supported")
    if thinking.get("type") != "enabled":
        return
    require(1024 <= thinking["budget_tokens"] < body["max_tokens"], "thinking.budget_tokens")
    require(body.get("temperature", 1) == 1, "`temperature` may only be set to 1 with thinking")
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    require(not forced, "Thinking may not be enabled when tool_choice forces tool use")
    for blocks in turns:
        if any(block["type"] == "tool_use" for block in blocks):
            first = blocks[0]["type"]
            require("thinking" in first, f"Expected `thinking`, but found `{first}`")


def failure(status: int, kind: str, message: str, **headers: str) -> Reply:
    """Return an error in Anthropic's shape."""
    error = {"type": "error", "error": {"type": kind, "message": message}}
    return answer(error, status=status, headers={"request-id": "req_upstream", **headers})


def text(words: str) -> Block:
    """Return a block of text."""
    return {"type": "text", "text": words}


def cited(words: str, url: str, title: str) -> Block:
    """Return a block of text that quotes a page."""
    citation = {
        "type": "web_search_result_location",
        "url": url,
        "title": title,
        "cited_text": "…",
        "encrypted_index": "zzz",
    }
    return {"type": "text", "text": words, "citations": [citation]}


def searched(query: str, *urls: str) -> list[Block]:
    """Return the blocks of one web search and what it found."""
    found = [
        {"type": "web_search_result", "url": url, "title": url, "encrypted_content": "zzz"}
        for url in urls
    ]
    return [
        {
            "type": "server_tool_use",
            "id": "srvtoolu_1",
            "name": "web_search",
            "input": {"query": query},
        },
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": found},
    ]


def tool_use(id_: str, name: str, **arguments: Any) -> Block:
    """Return a block that uses a tool."""
    return {"type": "tool_use", "id": id_, "name": name, "input": arguments}


def thinking(words: str, signature: str = "sig") -> Block:
    """Return a block of thoughts."""
    return {"type": "thinking", "thinking": words, "signature": signature}


def message(
    *blocks: Block,
    stop_reason: str = "end_turn",
    input_tokens: int = 10,
    output_tokens: int = 3,
    **usage: Any,
) -> Callable[[Call], Reply]:
    """Return a reply of these blocks, whole or streamed as the call asks."""
    counts = {"input_tokens": input_tokens, "output_tokens": output_tokens, **usage}

    def reply(call: Call) -> Reply:
        if call.stream:
            return [STREAM_HEAD, *events(blocks, counts, stop_reason=stop_reason)]
        return answer(envelope(list(blocks), counts, stop_reason))

    return reply


def envelope(blocks: list[Block], usage: dict[str, Any], stop_reason: str | None) -> Block:
    """Return a message object."""
    return {
        "id": "msg_upstream",
        "type": "message",
        "role": "assistant",
        "model": "claude-upstream-name",
        "content": blocks,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def event(kind: str, **fields: Any) -> bytes:
    """Return one event of a stream."""
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def events(
    blocks: Iterable[Block], usage: dict[str, Any], *, stop_reason: str = "end_turn"
) -> list[Step]:
    """Return a whole stream's events."""
    steps: list[Step] = [start(usage), event("ping")]
    for index, block in enumerate(blocks):
        steps += block_events(index, block)
    return [*steps, *end(usage, stop_reason=stop_reason)]


def start(usage: dict[str, Any]) -> bytes:
    """Return a stream's first event: what was read is known, of the answer one token."""
    return event("message_start", message=envelope([], {**usage, "output_tokens": 1}, None))


def end(usage: dict[str, Any], *, stop_reason: str = "end_turn") -> list[Step]:
    """Return a stream's last events."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return [event("message_delta", delta=delta, usage=usage), event("message_stop")]


def block_events(index: int, block: Block) -> list[Step]:
    """Return the events of one block, its content in two pieces."""
    match block:
        case {"type": "text", "text": words}:
            empty, deltas = text(""), [("text_delta", {"text": part}) for part in halves(words)]
            quoted = block.get("citations", ())
            deltas += [("citations_delta", {"citation": each}) for each in quoted]
        case {"type": "thinking", "thinking": words, "signature": signature}:
            empty = thinking("", "")
            deltas = [("thinking_delta", {"thinking": part}) for part in halves(words)]
            deltas.append(("signature_delta", {"signature": signature}))
        case {"type": "tool_use" | "server_tool_use", "input": arguments}:
            empty = {**block, "input": {}}
            written = json.dumps(arguments, ensure_ascii=False) if arguments else ""
            deltas = [("input_json_delta", {"partial_json": part}) for part in halves(written)]
        case _:
            empty, deltas = block, []
    return [
        event("content_block_start", index=index, content_block=empty),
        *(
            event("content_block_delta", index=index, delta={"type": kind, **fields})
            for kind, fields in deltas
        ),
        event("content_block_stop", index=index),
    ]


def halves(words: str) -> list[str]:
    """Return a text in two pieces; an empty one as one empty piece."""
    middle = len(words) // 2
    return [words[:middle], words[middle:]] if middle else [words]


def default(call: Call) -> Callable[[Call], Reply]:
    """Return a well-behaved answer: a tool's use first, then text; thoughts where asked."""
    thoughts = [thinking("hmm", "sig-1")] if "thinking" in call.body else []
    last = call.body["messages"][-1]["content"]
    answered = any(block["type"] == "tool_result" for block in last if isinstance(block, dict))
    tools = call.body.get("tools")
    if tools and not answered and call.body.get("tool_choice") != {"type": "none"}:
        use = tool_use("toolu_1", tools[0]["name"], city="Köln")
        return message(*thoughts, text("Let me look."), use, stop_reason="tool_use")
    return message(*thoughts, text("hello from upstream"))
