"""
A legacy completion request as callers send it, read as a chat of one message.

Reference: https://platform.openai.com/docs/api-reference/completions/create
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from proxy.wire import chat
from proxy.wire.call import BadRequest, Call
from proxy.wire.chatfields import Count, Slug

# What OpenAI gives where nothing is asked.
DEFAULT_TOKENS: Final = 16
OURS = frozenset({"prompt", "suffix", "echo", "best_of", "logprobs"})


class CompletionsRequest(Struct):
    """The fields that differ from a chat's."""

    model: Slug
    prompt: str | list[Any]
    suffix: str | None = None
    echo: bool | None = None
    best_of: Annotated[int, Meta(ge=1, le=20)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    max_tokens: Count | None = None


def parse(body: bytes) -> Call:
    """
    Read and check a request body.

    :raises BadRequest: not JSON, a wrong type or range, or what no chat can do
    """
    fields = chat.json_object(body)
    request = chat.converted(fields, CompletionsRequest)
    _refuse(request)
    prompt = prompt_of(request.prompt)
    asked = {name: value for name, value in fields.items() if name not in OURS}
    asked["messages"] = [{"role": "user", "content": prompt}]
    if fields.get("max_completion_tokens") is None:
        asked["max_tokens"] = request.max_tokens or DEFAULT_TOKENS
    call = chat.checked(asked)
    return msgspec.structs.replace(call, asked={"echo": prompt if request.echo else ""})


def prompt_of(given: str | list[Any]) -> str:
    """
    Return the one prompt.

    :raises BadRequest: several of them, or tokens
    """
    if isinstance(given, str):
        return given
    if len(given) == 1 and isinstance(given[0], str):
        return given[0]
    raise _unsupported("prompt", "prompt is one string here: send a request for each of several.")


def _refuse(request: CompletionsRequest) -> None:
    if request.suffix:
        raise _unsupported("suffix", "suffix is not supported: a chat model does not fill in.")
    if request.logprobs is not None:
        raise _unsupported("logprobs", "logprobs is not supported here; chat/completions has it.")
    if request.best_of is not None and request.best_of > 1:
        raise _unsupported("best_of", "best_of is not supported; n gives you all answers.")


def _unsupported(param: str, message: str) -> BadRequest:
    return BadRequest("unsupported_parameter", message, param=param)
