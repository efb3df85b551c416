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
# A text completion has no place for calls.
PLACELESS = ("tools", "tool_choice", "functions", "function_call")


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
    _refuse(request, fields)
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

    :raises BadRequest: none, several of them, or tokens
    """
    prompts = [given] if isinstance(given, str) else given
    kinds = set(map(type, prompts))
    if kinds == {str} and len(prompts) == 1:
        return str(prompts[0])
    if kinds == {str}:
        message = "prompt is one string here: send a request for each of several."
        raise _unsupported("prompt", message)
    if kinds and kinds <= {int, list}:
        message = "prompt is text here: a chat model is not told tokens. Send the text."
        raise _unsupported("prompt", message)
    message = "Invalid value for prompt: expected a string, or a list of one string."
    raise BadRequest("invalid_parameter", message, param="prompt")


def _refuse(request: CompletionsRequest, fields: dict[str, Any]) -> None:
    for name in PLACELESS:
        if fields.get(name):
            message = f"{name} is not supported here; chat/completions has it."
            raise _unsupported(name, message)
    if request.suffix:
        raise _unsupported("suffix", "suffix is not supported: a chat model does not fill in.")
    if request.logprobs is not None:
        raise _unsupported("logprobs", "logprobs is not supported here; chat/completions has it.")
    if request.best_of is not None and request.best_of > 1:
        raise _unsupported("best_of", "best_of is not supported; n gives you all answers.")


def _unsupported(param: str, message: str) -> BadRequest:
    return BadRequest("unsupported_parameter", message, param=param)
