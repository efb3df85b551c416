"""
A model's thoughts in OpenRouter's words: text as ``reasoning``, proofs in ``reasoning_details``.

A client that sends a message back whole sends the proofs with it, and so a model can go on
thinking after a tool call. ``format`` says whose they are: no other provider can read them.

Reference: https://openrouter.ai/docs/guides/best-practices/reasoning-tokens
"""

from __future__ import annotations

from typing import Any

ANTHROPIC = "anthropic-claude-v1"


def detail(*, text: str = "", signature: str = "", data: str = "", index: int) -> dict[str, Any]:
    """Return one of Anthropic's thoughts: in clear with its signature, or encrypted."""
    base = {"format": ANTHROPIC, "index": index}
    if data:
        return {"type": "reasoning.encrypted", "data": data, **base}
    return {"type": "reasoning.text", "text": text, "signature": signature, **base}


def details_of(message: dict[str, Any], form: str) -> list[dict[str, Any]]:
    """Return the thoughts of one format that a message carries."""
    details = message.get("reasoning_details")
    if not isinstance(details, list):
        return []
    return [one for one in details if isinstance(one, dict) and one.get("format") == form]
