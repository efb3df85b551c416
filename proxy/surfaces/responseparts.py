"""A response as an object: what a caller asked repeated, and the items of the answer."""

from __future__ import annotations

from typing import Any

from common import ids
from proxy.exchange import Exchange
from proxy.surfaces.base import Outcome
from proxy.wire import answers, references

# Where nothing was asked, the value that OpenAI documents.
REPEATED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "user": None,
}
FIXED: dict[str, Any] = {
    "background": False,
    "previous_response_id": None,
    "service_tier": "default",
    "store": False,
    "top_logprobs": 0,
    "truncation": "disabled",
}
CUT_SHORT = {"length": "max_output_tokens", "content_filter": "content_filter"}
# It sends an item's id back in place of the item, which nobody keeps.
REFERS = b"ai-sdk/"


def response_of(
    exchange: Exchange, *, model: str, status: str, output: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    """Return a response object."""
    asked = exchange.call.asked
    repeated = {
        name: usual if asked.get(name) is None else asked[name] for name, usual in REPEATED.items()
    }
    return {
        "id": ids.form("resp_", exchange.incoming.id),
        "object": "response",
        "created_at": exchange.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": output,
        "usage": None,
        **FIXED,
        **repeated,
        **more,
    }


def ending(finish_reason: str | None) -> dict[str, Any]:
    """Return the status of a whole answer, and why it is cut short where it is."""
    reason = CUT_SHORT.get(finish_reason or "")
    if reason is None:
        return {"status": "completed"}
    return {"status": "incomplete", "incomplete_details": {"reason": reason}}


def message_item(id: str, *, status: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an item with what the assistant says."""
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": parts}


def call_item(
    id: str, *, status: str, call_id: str, name: str, arguments: str = ""
) -> dict[str, Any]:
    """Return an item with a call of a function."""
    return {
        "id": id,
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": call_id,
        "name": name,
    }


def text_part(text: str = "") -> dict[str, Any]:
    """Return a part with text."""
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def refusal_part(text: str = "") -> dict[str, Any]:
    """Return a part with a refusal."""
    return {"type": "refusal", "refusal": text}


def item_id(exchange: Exchange, prefix: str, position: int) -> str:
    """Return the id of the item at a position of the output."""
    name = ids.form(prefix, exchange.incoming.id)
    return f"{name}_{position}" if position else name


def memory(exchange: Exchange, output: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the item that carries an answer's words, for callers who send back ids alone."""
    if REFERS not in exchange.incoming.headers.get(b"user-agent", b""):
        return None
    words = {
        item["id"]: "".join(part["text"] for part in item["content"] if "text" in part)
        for item in output
        if item["type"] == "message"
    }
    if not words:
        return None
    id = references.carrier(ids.form(references.PREFIX, exchange.incoming.id), words)
    return {"id": id, "type": "reasoning", "summary": []}


def usage_of(outcome: Outcome) -> dict[str, Any]:
    """Return usage in this surface's words, with the price paid as ``cost``."""
    told = answers.usage_object(outcome.usage, cost=outcome.cost)
    return {
        "input_tokens": told["prompt_tokens"],
        "input_tokens_details": told["prompt_tokens_details"],
        "output_tokens": told["completion_tokens"],
        "output_tokens_details": told["completion_tokens_details"],
        "total_tokens": told["total_tokens"],
        "cost": told["cost"],
    }
