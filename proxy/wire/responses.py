"""
A response request as callers send it, read as a chat; nothing is kept between requests.

Reference: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from proxy.wire import chat, responseitems
from proxy.wire.call import BadRequest, Call
from proxy.wire.chatfields import ChatRequest, Count, Effort, Metadata, Slug, Verbosity

NOT_KEPT: Final = "Responses are not kept here: send the whole conversation in input."
# A chat has them under the same names.
SAME: Final = (
    "model",
    "models",
    "provider",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "service_tier",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "stop",
)
# What needs a memory, or a service of OpenAI's own.
REFUSED: Final = {
    **dict.fromkeys(("previous_response_id", "conversation", "prompt"), NOT_KEPT),
    "context_management": NOT_KEPT,
    "access_programs": "access_programs is not supported: it belongs to OpenAI's own accounts.",
    "moderation": "moderation is not supported: its verdicts are not passed on.",
}
RENAMED: Final = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}


class Function(Struct):
    """A function tool; other tools run on OpenAI's servers."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Format(Struct):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class Text(Struct):
    """What form the answer has."""

    format: Format | None = None
    verbosity: Verbosity | None = None


class Reasoning(Struct):
    """How hard to think; what is told of it is left out, as reasoning is no item here."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | None = None


class ResponsesRequest(Struct):
    """The fields that a chat has under other names, or not at all."""

    model: Slug
    input: str | list[Any]
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    max_output_tokens: Count | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    metadata: Metadata | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    store: bool | None = None
    background: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    max_tool_calls: Count | None = None
    image: dict[str, Any] | None = None


# Fields of a chat that a response has under another name, or has no place for.
CHATS: Final = frozenset(
    set(ChatRequest.__struct_fields__) - set(ResponsesRequest.__struct_fields__) - set(SAME)
) - {*REFUSED}
KNOWN: Final = frozenset({*ResponsesRequest.__struct_fields__, *CHATS, *REFUSED})


def parse(body: bytes) -> Call:
    """
    Read and check a request body.

    :raises BadRequest: not JSON, a wrong type or range, or what needs a memory
    """
    fields = chat.json_object(body)
    request = chat.converted(fields, ResponsesRequest)
    chat.refuse_ours(fields)
    _refuse(request, fields)
    asked = {
        name: value
        for name, value in fields.items()
        if value is not None and (name in SAME or name not in KNOWN)
    }
    try:
        call = chat.checked(asked | _translated(request))
    except BadRequest as error:
        head, *rest = (error.param or "").split("[", 1)
        name = RENAMED.get(head, head)
        message = error.message.replace(head, name, 1) if head else error.message
        raise BadRequest(error.reason, message, param="[".join((name, *rest)) or None) from None
    unheard = call.unheard | _unheard(request)
    return msgspec.structs.replace(call, asked=fields, unheard=unheard)


def _refuse(request: ResponsesRequest, fields: dict[str, Any]) -> None:
    for name, message in REFUSED.items():
        if fields.get(name) is not None:
            raise _unsupported(name, message)
    for name in CHATS:
        if fields.get(name) is not None:
            message = (
                f"{name} belongs to chat/completions; the reference of responses names its own."
            )
            raise _unsupported(name, message)
    if request.background:
        raise _unsupported("background", "background is not supported: nothing is kept here.")
    if request.truncation == "auto":
        raise _unsupported("truncation", "truncation is not supported: send a shorter input.")
    if request.top_logprobs:
        raise _unsupported("top_logprobs", "top_logprobs is not supported here.")
    if request.reasoning is not None and request.reasoning.mode not in (None, "standard"):
        message = "reasoning.mode has a cost without a bound; no route prices it."
        raise BadRequest("unpriced_parameter", message, param="reasoning.mode")


def _unheard(request: ResponsesRequest) -> frozenset[str]:
    """Return what was sent and changes nothing here; the answer names it."""
    thinking = request.reasoning or Reasoning()
    sent = {
        "store": request.store,
        "include": request.include,
        "max_tool_calls": request.max_tool_calls,
        "image": request.image,
        "stream_options": request.stream_options,
        "reasoning.summary": thinking.summary,
        "reasoning.generate_summary": thinking.generate_summary,
        "reasoning.context": thinking.context == "all_turns",
    }
    return frozenset(name for name, value in sent.items() if value)


def _translated(request: ResponsesRequest) -> dict[str, Any]:
    """Return the fields that a chat has under other names or in other shapes."""
    messages = responseitems.messages(request.input)
    if request.instructions:
        messages.insert(0, {"role": "system", "content": request.instructions})
    told: dict[str, Any] = {"messages": messages, "stream": bool(request.stream)}
    if request.tools:
        told["tools"] = [_tool(tool, position) for position, tool in enumerate(request.tools)]
    if request.tool_choice is not None:
        told["tool_choice"] = _choice(request.tool_choice)
    if request.max_output_tokens is not None:
        told["max_completion_tokens"] = request.max_output_tokens
    if request.reasoning is not None and request.reasoning.effort is not None:
        told["reasoning_effort"] = request.reasoning.effort
    if request.text is not None:
        told |= _text(request.text)
    return told


def _tool(tool: dict[str, Any], position: int) -> dict[str, Any]:
    place = f"tools[{position}]"
    if tool.get("type") != "function":
        message = f"{place}.type: only function tools are supported; others have no bounded cost."
        raise BadRequest("unpriced_parameter", message, param=f"{place}.type")
    try:
        function = chat.converted(tool, Function)
    except BadRequest as error:
        param = f"{place}.{error.param}"
        raise BadRequest(error.reason, error.message, param=param) from None
    return {"type": "function", "function": _present(function)}


def _choice(choice: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    kind = choice.get("type")
    if kind == "function":
        return _named(choice)
    if kind == "allowed_tools" and isinstance(choice.get("tools"), list):
        tools = [_named(tool) for tool in choice["tools"] if isinstance(tool, dict)]
        allowed = {"mode": choice.get("mode", "auto"), "tools": tools}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    raise _unsupported("tool_choice", "tool_choice names functions only.")


def _named(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": str(tool.get("name") or "")}}


def _text(text: Text) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if text.verbosity is not None:
        told["verbosity"] = text.verbosity
    form = text.format
    if form is not None and form.type == "json_object":
        told["response_format"] = {"type": "json_object"}
    if form is not None and form.type == "json_schema":
        if not form.name or form.schema is None:
            message = "text.format needs a name and a schema."
            raise BadRequest("invalid_parameter", message, param="text.format")
        schema = {name: value for name, value in _present(form).items() if name != "type"}
        told["response_format"] = {"type": "json_schema", "json_schema": schema}
    return told


def _present(struct: Struct) -> dict[str, Any]:
    return {n: v for n, v in msgspec.structs.asdict(struct).items() if v is not None}


def _unsupported(param: str, message: str) -> BadRequest:
    return BadRequest("unsupported_parameter", message, param=param)
