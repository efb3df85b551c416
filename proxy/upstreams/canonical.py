"""OpenAI's chat completion and its chunks, made of what another format said."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.wire.answers import Completion, Garbage, Usage, believed, text_bytes

MOST_TOKENS = 2**31


def json_object(data: bytes) -> dict[str, Any]:
    """
    Read a JSON object.

    :raises Garbage: it is none
    """
    try:
        told = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Garbage("not JSON") from None
    if not isinstance(told, dict):
        raise Garbage("not an object")
    return told


def count(told: Any) -> int | None:
    """Return a count of tokens, 0 where none is told, None where it cannot be one."""
    if told is None:
        return 0
    return told if type(told) is int and 0 <= told <= MOST_TOKENS else None


def chunk(delta: dict[str, Any], *, finish_reason: str | None = None) -> dict[str, Any]:
    """Return one chunk; who renders it adds id, model and time."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def completed(
    message: dict[str, Any],
    *,
    finish_reason: str,
    told: Any,
    usage: Usage | None,
    upstream_id: str,
) -> Completion:
    """Return a whole answer of one choice; ``told`` is the usage in the provider's own words."""
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason,
    }
    size_bytes = text_bytes(message)
    usage = believed(usage, size_bytes)
    return Completion(
        {"choices": [choice]},
        usage,
        size_bytes,
        upstream_id,
        contradicted=bool(told) and usage is None,
    )
