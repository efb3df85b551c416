"""
What of a provider's answer a caller is told, field by field, to the innermost.

Whatever a provider adds to OpenAI's objects stays here: it may be its id, its name, its cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# A field's own fields; of one that has none here the value is told as it is.
Shape = Mapping[str, "Shape | None"]

FUNCTION: Shape = dict.fromkeys(("name", "arguments"))
TOOL_CALL: Shape = {
    **dict.fromkeys(("index", "id", "type")),
    "function": FUNCTION,
    "custom": dict.fromkeys(("name", "input")),
    # The proof of its thoughts that Gemini wants back, as Google's OpenAI surface has it.
    "extra_content": {"google": dict.fromkeys(("thought_signature",))},
}
CITATION: Shape = dict.fromkeys(("start_index", "end_index", "title", "url", "content"))
# A proof of thoughts has an id that the provider wants back with it.
DETAIL: Shape = dict.fromkeys(
    ("type", "id", "format", "index", "text", "summary", "data", "signature")
)
SPOKEN: Shape = {
    **dict.fromkeys(("role", "content", "refusal", "reasoning", "reasoning_content")),
    "tool_calls": TOOL_CALL,
    "function_call": FUNCTION,
    "annotations": {"type": None, "url_citation": CITATION},
    "images": {"type": None, "index": None, "image_url": dict.fromkeys(("url", "detail"))},
    "reasoning_details": DETAIL,
}
TOKEN: Shape = dict.fromkeys(("token", "logprob", "bytes"))
TOKENS: Shape = {**TOKEN, "top_logprobs": TOKEN}
CHOICE: Shape = {
    **dict.fromkeys(("index", "finish_reason")),
    "message": SPOKEN,
    "delta": SPOKEN,
    "logprobs": {"content": TOKENS, "refusal": TOKENS},
}
USAGE: Shape = {
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens")),
    "prompt_tokens_details": dict.fromkeys(("cached_tokens", "cache_write_tokens", "audio_tokens")),
    "completion_tokens_details": dict.fromkeys(
        (
            *("reasoning_tokens", "audio_tokens"),
            *("accepted_prediction_tokens", "rejected_prediction_tokens"),
        )
    ),
}
PICTURE_TOKENS: Shape = dict.fromkeys(("text_tokens", "image_tokens", "cached_tokens"))
PICTURE_USAGE: Shape = {
    **dict.fromkeys(("total_tokens", "input_tokens", "output_tokens")),
    "input_tokens_details": PICTURE_TOKENS,
    "output_tokens_details": PICTURE_TOKENS,
}

# Beside the choices: OpenAI's own words, no names of anything, the web's addresses.
Tier = Literal["auto", "default", "flex", "scale", "priority"] | None
Fingerprint = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None
Citations = (
    Annotated[list[Annotated[str, Meta(pattern=r"^https?://")]], Meta(max_length=1000)] | None
)
ASIDES: Mapping[str, Any] = {
    "service_tier": Tier,
    "system_fingerprint": Fingerprint,
    "citations": Citations,
}


def asides(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an answer has beside its choices, as far as it is what OpenAI says it is."""
    return {
        name: told[name] for name, kind in ASIDES.items() if name in told and _is(told[name], kind)
    }


def _is(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def only(told: Any, shape: Shape) -> Any:
    """Return what a shape has of an object, or of each object in a list; nothing else."""
    if isinstance(told, dict):
        return {
            name: value if (inner := shape[name]) is None else only(value, inner)
            for name, value in told.items()
            if name in shape
        }
    if isinstance(told, list):
        return [only(one, shape) for one in told if isinstance(one, dict)]
    return None
