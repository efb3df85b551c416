"""A conversation in Anthropic's words: the system prompt apart, then turns of content blocks."""

from __future__ import annotations

import re
from typing import Any

from proxy.upstreams import asked
from proxy.upstreams.asked import Image
from proxy.upstreams.thoughts import ANTHROPIC, details_of

Block = dict[str, Any]

NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")


def conversation(messages: list[dict[str, Any]]) -> tuple[list[Block], list[dict[str, Any]]]:
    """
    Return the system prompt and the turns.

    :raises proxy.wire.call.BadRequest: something that Anthropic has no words for
    """
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for n, message in enumerate(messages):
        place = f"messages[{n}]"
        match message["role"]:
            case "system" | "developer":
                system += _system(message, place)
            case "user":
                _add(turns, "user", _user(message, place))
            case "assistant":
                _add(turns, "assistant", _assistant(message, place))
            case "tool":
                _add(turns, "user", [_result(message, place)])
            case role:
                raise asked.unsupported(f"{place}.role", f"The role {role}")
    if not turns:
        return [], [{"role": "user", "content": system}]
    _trim_prefill(turns[-1])
    return system, turns


def _add(turns: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    """Add blocks to the turn of a role, which is one however many messages it came in."""
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _trim_prefill(turn: dict[str, Any]) -> None:
    """Anthropic refuses an answer to continue that ends in white space."""
    last = turn["content"][-1]
    if turn["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()


def _system(message: dict[str, Any], place: str) -> list[Block]:
    found = asked.texts(message.get("content"), place=f"{place}.content")
    return [_cached(_block(what), fields) for what, fields in found if what]


def _user(message: dict[str, Any], place: str) -> list[Block]:
    found = asked.parts(message.get("content"), place=f"{place}.content")
    return [_cached(_block(what), fields) for what, fields in found if what]


def _block(what: str | Image) -> Block:
    if isinstance(what, str):
        return {"type": "text", "text": what}
    if what.url:
        return {"type": "image", "source": {"type": "url", "url": what.url}}
    source = {"type": "base64", "media_type": what.media_type, "data": what.data}
    return {"type": "image", "source": source}


def _cached(block: Block, fields: dict[str, Any]) -> Block:
    """Keep a caller's cache mark; always of five minutes, as an hour has another price."""
    if fields.get("cache_control"):
        block["cache_control"] = {"type": "ephemeral"}
    return block


def _assistant(message: dict[str, Any], place: str) -> list[Block]:
    blocks = [_thought(detail) for detail in details_of(message, ANTHROPIC)]
    text = asked.text(message.get("content"), place=f"{place}.content")
    if text.strip():
        blocks.append({"type": "text", "text": text})
    for call in asked.tool_calls(message, place=place):
        use = {"id": _id(call.id), "name": call.name, "input": call.arguments}
        blocks.append({"type": "tool_use", **use})
    return blocks


def _thought(detail: dict[str, Any]) -> Block:
    if detail.get("type") == "reasoning.encrypted":
        return {"type": "redacted_thinking", "data": str(detail.get("data") or "")}
    text, signature = detail.get("text") or "", detail.get("signature") or ""
    return {"type": "thinking", "thinking": str(text), "signature": str(signature)}


def _result(message: dict[str, Any], place: str) -> Block:
    content = message.get("content")
    id_ = message.get("tool_call_id")
    if not isinstance(id_, str):
        raise asked.invalid(f"{place}.tool_call_id", "expected text")
    blocks = [_block(what) for what, _ in asked.parts(content, place=f"{place}.content") if what]
    return {"type": "tool_result", "tool_use_id": _id(id_), "content": blocks}


def _id(id_: str) -> str:
    """Return a call's id in the letters that Anthropic takes: it may be another provider's."""
    return NOT_IN_IDS.sub("_", id_)
