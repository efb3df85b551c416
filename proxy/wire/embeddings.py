"""
An embeddings request as callers send it.

Reference: https://platform.openai.com/docs/api-reference/embeddings/create
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from proxy.wire import chat, preferences
from proxy.wire.answers import BYTES_PER_TOKEN
from proxy.wire.call import BadRequest, Call
from proxy.wire.chatfields import Count, Models, Slug
from proxy.wire.preferences import ProviderFields

MOST_INPUTS = 2048


class EmbeddingsRequest(Struct):
    """The fields that this gateway reads; all others travel unread."""

    model: Slug
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Count | None = None
    user: str | None = None
    models: Models | None = None
    provider: ProviderFields | None = None


def parse(body: bytes) -> Call:
    """
    Read and check a request body.

    :raises BadRequest: not JSON, a wrong type or range, a field that is refused
    """
    fields = chat.json_object(body)
    request = chat.converted(fields, EmbeddingsRequest)
    chat.refuse_ours(fields)
    prompts = prompts_of(request.input)
    return Call(
        kind="embedding",
        model=request.model,
        models=tuple(request.models or ()),
        preferences=preferences.read(request.provider, fields.get("provider")),
        unheard=chat.unheard(fields, request.provider),
        fields={name: value for name, value in fields.items() if name not in chat.CONSUMED},
        prompt_bytes=sum(size_bytes(prompt) for prompt in prompts),
        inputs=len(prompts),
    )


def prompts_of(given: str | list[Any]) -> list[str] | list[list[int]]:
    """
    Return the prompts: texts, or lists of tokens.

    :raises BadRequest: neither, or none, or too many
    """
    if isinstance(given, str):
        prompts: list[Any] = [given]
    else:
        prompts = [given] if given and type(given[0]) is int else given
    if len(prompts) > MOST_INPUTS:
        raise _wrong(f"input takes at most {MOST_INPUTS} prompts.")
    if not prompts or not all(prompts):
        raise _wrong("input must not be empty, nor any prompt in it.")
    if set(map(type, prompts)) == {str}:
        return prompts
    if set(map(type, prompts)) == {list} and all(_are_tokens(prompt) for prompt in prompts):
        return prompts
    raise _wrong("input is a string, a list of strings, or a list (of lists) of tokens.")


def size_bytes(prompt: str | list[int]) -> int:
    """Return the size of a prompt; a token counts as its usual bytes."""
    if isinstance(prompt, str):
        return len(prompt.encode())
    return len(prompt) * BYTES_PER_TOKEN


def _are_tokens(prompt: list[Any]) -> bool:
    return set(map(type, prompt)) == {int} and min(prompt) >= 0


def _wrong(message: str) -> BadRequest:
    return BadRequest("invalid_parameter", message, param="input")
