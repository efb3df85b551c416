"""
The sandbox's pictures: the prompt's words, written large, of the size that was asked for.

It answers as gpt-image-1 does: base64, the size and quality that were made, partial pictures.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from proxy.sandbox import wire
from proxy.sandbox.lettering import png
from proxy.sandbox.words import count

SLUG = "sandbox/image"
SIZES = ("1024x1024", "1536x1024", "1024x1536", "512x512", "256x256")
PARTIAL = "image_generation.partial_image"
COMPLETED = "image_generation.completed"


class ImagesRequest(Struct, frozen=True, kw_only=True):
    """The body of POST /v1/images/generations."""

    model: str
    prompt: Annotated[str, Meta(min_length=1)]
    n: Annotated[int, Meta(ge=1, le=10)] = 1
    size: Literal["auto", "1024x1024", "1536x1024", "1024x1536", "512x512", "256x256"] = "auto"
    quality: Literal["auto", "low", "medium", "high"] = "auto"
    response_format: Literal["b64_json", "url"] = "b64_json"
    stream: bool = False
    partial_images: Annotated[int, Meta(ge=0, le=3)] = 0
    sandbox: wire.Knobs | None = None

    @property
    def made(self) -> dict[str, str]:
        """What is made where the choice is ours, as answers tell it."""
        return {
            "size": SIZES[0] if self.size == "auto" else self.size,
            "quality": "medium" if self.quality == "auto" else self.quality,
            "background": "opaque",
            "output_format": "png",
        }


def prompt_tokens(request: ImagesRequest) -> int:
    """Count the prompt's words."""
    return count(request.prompt)


def body(request: ImagesRequest) -> bytes:
    """Return the whole answer."""
    picture = encoded(request)
    one = {"b64_json": picture}
    if request.response_format == "url":
        one = {"url": f"data:image/png;base64,{picture}"}
    answer = {"created": int(time.time()), "data": [one] * request.n, "usage": usage(request)}
    return msgspec.json.encode(answer | request.made)


def events(request: ImagesRequest) -> Iterator[bytes]:
    """Make the stream: of each picture the partial ones asked for, then the whole."""
    picture = encoded(request)
    common = {"b64_json": picture, "created_at": int(time.time()), **request.made}
    for _ in range(request.n):
        for index in range(request.partial_images):
            yield event({"type": PARTIAL, "partial_image_index": index, **common})
        yield event({"type": COMPLETED, "usage": usage(request), **common})


def event(payload: dict[str, Any]) -> bytes:
    """Return one event under its own name."""
    return f"event: {payload['type']}\n".encode() + wire.event(payload)


def encoded(request: ImagesRequest) -> str:
    """Return the picture in base64."""
    width, height = map(int, request.made["size"].split("x"))
    return base64.b64encode(png(request.prompt, width=width, height=height)).decode()


def usage(request: ImagesRequest) -> dict[str, Any]:
    """Return the counts as gpt-image-1 tells them; a picture has no words."""
    tokens = prompt_tokens(request)
    return {
        "input_tokens": tokens,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": tokens},
        "output_tokens": 0,
        "total_tokens": tokens,
    }
