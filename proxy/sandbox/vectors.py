"""
The sandbox's embeddings: the same text always gives the same vector.

A vector is the sum of its words' vectors, each made of the word's hash, brought to length
one: texts that share words lie near each other, which is enough to try a search.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from proxy.sandbox import wire
from proxy.sandbox.words import count

SLUG = "sandbox/embedding"
DEFAULT_DIMENSIONS = 16
MIDDLE_OF_A_BYTE = 127.5

Tokens = list[int]


class VectorsRequest(Struct, frozen=True, kw_only=True):
    """The body of POST /v1/embeddings."""

    model: str
    input: str | list[Any]
    dimensions: Annotated[int, Meta(ge=1, le=4096)] = DEFAULT_DIMENSIONS
    encoding_format: Literal["float", "base64"] = "float"
    sandbox: wire.Knobs | None = None

    def prompts(self) -> list[str | Tokens]:
        """Return what a vector each is asked for."""
        if isinstance(self.input, str):
            return [self.input]
        return [self.input] if self.input and isinstance(self.input[0], int) else self.input


def prompt_tokens(request: VectorsRequest) -> int:
    """Count the words, or tokens, of all prompts."""
    prompts = request.prompts()
    return sum(count(one) if isinstance(one, str) else len(one) for one in prompts)


def body(request: VectorsRequest) -> bytes:
    """Return the answer."""
    vectors = [vector(prompt, size=request.dimensions) for prompt in request.prompts()]
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(one, request)}
        for index, one in enumerate(vectors)
    ]
    tokens = prompt_tokens(request)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode(
        {"object": "list", "data": data, "model": request.model, "usage": usage}
    )


def vector(prompt: str | Tokens, *, size: int) -> tuple[float, ...]:
    """Return the vector of a text: so many numbers of 32 bits, of length one."""
    words = prompt.lower().split() if isinstance(prompt, str) else map(str, prompt)
    sums = _sums(words, size)
    length = math.hypot(*sums) or 1.0
    packed = struct.pack(f"<{size}f", *(number / length for number in sums))
    return struct.unpack(f"<{size}f", packed)


def _sums(words: Iterable[str], size: int) -> list[float]:
    sums = [0.0] * size
    for word in words:
        digest = hashlib.shake_128(word.encode()).digest(size)
        sums = [total + byte - MIDDLE_OF_A_BYTE for total, byte in zip(sums, digest, strict=True)]
    return sums


def _encoded(numbers: tuple[float, ...], request: VectorsRequest) -> Any:
    if request.encoding_format == "float":
        return numbers
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
