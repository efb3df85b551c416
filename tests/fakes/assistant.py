"""
A provider that behaves as a model does: it calls tools, fills in schemas, sees pictures.

``upstream.script(assistant.reply)`` answers every chat by what is asked of it: the first tool
is called unless its result is already there, a JSON Schema is filled in, pictures are
counted, anything else is echoed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from tests.fakes import replies
from tests.fakes.steps import Call, Reply, Step

CALL_ID = "call_1"
EXAMPLES: dict[str, Any] = {"string": "Paris", "integer": 7, "number": 7, "boolean": True}
PIECE = 5


def reply(call: Call) -> Reply:
    """Answer one chat."""
    message = answer_to(call.body)
    choices = call.body.get("n") or 1
    finish = "tool_calls" if "tool_calls" in message else "stop"
    if call.stream:
        return list(_stream(message, finish, choices))
    return replies.completion(
        prompt_tokens=10,
        completion_tokens=5 * choices,
        choices=[
            {"index": index, "message": message, "finish_reason": finish}
            for index in range(choices)
        ],
    )


def answer_to(body: dict[str, Any]) -> dict[str, Any]:
    """Return the message that a model would answer with."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return _said(f"The tool says {text_of(last['content'])}.")
    tools = [tool["function"] for tool in body.get("tools") or ()]
    if tools and body.get("tool_choice") != "none":
        return _calling(tools[0])
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_schema":
        return _said(json.dumps(example(shape["json_schema"]["schema"])))
    if shape.get("type") == "json_object":
        return _said('{"city": "Paris"}')
    pictures = [part for part in _parts(last["content"]) if part["type"] == "image_url"]
    return _said(f"I see {len(pictures)} picture." if pictures else text_of(last["content"]))


def text_of(content: Any) -> str:
    """Return the text of a message's content."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in _parts(content))


def example(schema: dict[str, Any]) -> Any:
    """Return a value that a simple JSON Schema accepts."""
    if schema.get("type") == "object" or "properties" in schema:
        return {name: example(each) for name, each in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [example(schema["items"])]
    return schema["enum"][0] if "enum" in schema else EXAMPLES[schema.get("type", "string")]


def _parts(content: Any) -> list[dict[str, Any]]:
    return [] if isinstance(content, str) or content is None else content


def _said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "refusal": None}


def _calling(function: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(example(function.get("parameters") or {"type": "object"}))
    call = {"name": function["name"], "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": CALL_ID, "type": "function", "function": call}],
    }


def _stream(message: dict[str, Any], finish: str, choices: int) -> Iterator[Step]:
    yield replies.STREAM_HEAD
    for index in range(choices):
        for delta in _deltas(message):
            yield _chunk(index, delta, None)
        yield _chunk(index, {}, finish)
    yield replies.event(replies.chunk(choices=[], usage=replies.usage(10, 5 * choices)))
    yield replies.event("[DONE]")


def _chunk(index: int, delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return replies.event(replies.chunk(choices=[choice]))


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "tool_calls" not in message:
        yield {"role": "assistant", "content": ""}
        yield from ({"content": piece} for piece in _pieces(message["content"]))
        return
    (call,) = message["tool_calls"]
    begun = {**call, "index": 0, "function": {**call["function"], "arguments": ""}}
    yield {"role": "assistant", "content": None, "tool_calls": [begun]}
    for piece in _pieces(call["function"]["arguments"]):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _pieces(text: str) -> Iterator[str]:
    letters = iter(text)
    while piece := "".join(itertools.islice(letters, PIECE)):
        yield piece
