"""
A request for pictures as callers send it, and a provider's stream of them.

References: https://platform.openai.com/docs/api-reference/images/create and
https://platform.openai.com/docs/api-reference/images-streaming
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from proxy.wire import chat, preferences
from proxy.wire.call import BadRequest, Call
from proxy.wire.chatfields import Models, SafetyIdentifier, Slug
from proxy.wire.preferences import ProviderFields

# A picture's price is by size and quality: these change the work behind it without a bound.
UNPRICED = ("complexity", "frame_count", "frame_duration_ms", "svg")
PARTIAL = "image_generation.partial_image"
COMPLETED = "image_generation.completed"


class ImagesRequest(Struct):
    """The fields that this gateway reads; all others travel unread."""

    model: Slug
    prompt: Annotated[str, Meta(min_length=1, max_length=32_000)]
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: Annotated[str, Meta(pattern=r"^(auto|[1-9]\d{0,4}x[1-9]\d{0,4})$")] | None = None
    quality: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,32}$")] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    moderation: Literal["low", "auto"] | None = None
    output_format: Literal["png", "jpeg", "webp", "gif", "svg"] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None
    style: Literal["vivid", "natural"] | None = None
    stream: bool | None = None
    user: str | None = None
    safety_identifier: SafetyIdentifier | None = None
    models: Models | None = None
    provider: ProviderFields | None = None


def parse(body: bytes) -> Call:
    """
    Read and check a request body.

    :raises proxy.wire.call.BadRequest: not JSON, a wrong type or range, a field that is refused
    """
    fields = chat.json_object(body)
    request = chat.converted(fields, ImagesRequest)
    chat.refuse_ours(fields)
    _refuse_unpriced(request, fields)
    return Call(
        kind="image",
        model=request.model,
        models=tuple(request.models or ()),
        preferences=preferences.read(request.provider, fields.get("provider")),
        unheard=chat.unheard(fields, request.provider),
        fields={name: value for name, value in fields.items() if name not in chat.CONSUMED},
        stream=bool(request.stream),
        prompt_bytes=len(request.prompt.encode()),
        images=request.n or 1,
        size=request.size or "",
        quality=request.quality or "",
    )


def _refuse_unpriced(request: ImagesRequest, fields: dict[str, Any]) -> None:
    named = [name for name in UNPRICED if fields.get(name) is not None]
    if request.output_format in ("gif", "svg"):
        named.append("output_format")
    for name in named:
        message = (
            f"{name} has a cost without a bound here: pictures are priced by size and quality."
        )
        raise BadRequest("unpriced_parameter", message, param=name)
