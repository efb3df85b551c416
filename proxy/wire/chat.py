"""
A chat completion request as callers send it: typed, ranged, otherwise passed through.

Reference: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from proxy.wire.call import BadRequest, Call, Preferences

DEEPEST = 64
MOST_STOPS = 10
# Consumed here or refused here; none of them ever travels to a provider.
REFUSED = ("api_base", "base_url", "api_key", "extra_headers", "organization")
CONSUMED = frozenset({"models", "provider", "async"})
UNPRICED = (
    "prediction",
    "audio",
    "plugins",
    "search_parameters",
    "enable_search",
    "web_search",
    "extra_body",
)
PARTS = frozenset({"text", "image_url", "refusal"})
# Fields that a provider does not put into the prompt.
NO_PROMPT = frozenset(
    {"messages", "metadata", "stream_options", "provider", "models", "sandbox", "logit_bias"}
)
STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
MOST_BRACKETS = 1_000_000
# What a prompt costs beyond its text: role, separators, the list's own structure.
TOKENS_PER_MESSAGE = 8


class Message(Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(Struct):
    include_usage: bool = False


Unit = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class PriceCeiling(Struct, forbid_unknown_fields=True):
    prompt: str | int | float | None = None
    completion: str | int | float | None = None


class ProviderFields(Struct):
    """``provider`` in a body, as OpenRouter documents it."""

    order: list[str] = []
    only: list[str] = []
    ignore: list[str] = []
    # Cheapest first is what we do; nothing else is measured yet.
    sort: Literal["price"] | None = None
    max_price: PriceCeiling | None = None
    allow_fallbacks: bool = True
    require_parameters: bool = False


class ChatRequest(Struct):
    """The fields that this gateway reads; all others travel unread."""

    model: Annotated[str, Meta(min_length=1, max_length=128)]
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    stop: str | list[str] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    web_search_options: dict[str, Any] | None = None
    models: Annotated[list[str], Meta(max_length=10)] | None = None
    provider: ProviderFields | None = None


def parse(body: bytes) -> Call:
    """
    Read and check a request body.

    :raises BadRequest: not JSON, nested too deeply, a wrong type or range, a field that is
        refused or has no price
    """
    return checked(json_object(body))


def checked(fields: dict[str, Any]) -> Call:
    """
    Check the fields of a chat completion.

    :raises BadRequest: a wrong type or range, a field that is refused or has no price
    """
    request = converted(fields, ChatRequest)
    _check(request, fields)
    prompt_bytes, pictures = _measure(request, fields["messages"])
    for name, value in fields.items():
        if isinstance(value, dict | list) and name not in NO_PROMPT:
            prompt_bytes += len(msgspec.json.encode(value))
    options = request.stream_options
    limits = [x for x in (request.max_tokens, request.max_completion_tokens) if x is not None]
    stop = request.stop or ()
    return Call(
        kind="chat",
        model=request.model,
        models=tuple(request.models or ()),
        preferences=preferences(request.provider),
        fields={name: value for name, value in fields.items() if name not in CONSUMED},
        stream=bool(request.stream),
        include_usage=options is not None and options.include_usage,
        prompt_bytes=prompt_bytes,
        pictures=pictures,
        output_limit=min(limits) if limits else None,
        choices=request.n or 1,
        stops=1 if isinstance(stop, str) else len(stop),
        searches=fields.get("web_search_options") is not None,
    )


def preferences(asked: ProviderFields | None) -> Preferences:
    """Return what a caller asked of routing."""
    if asked is None:
        return Preferences()
    ceiling = asked.max_price or PriceCeiling()
    return Preferences(
        order=tuple(asked.order),
        only=tuple(asked.only),
        ignore=tuple(asked.ignore),
        sort=asked.sort,
        max_prompt_price=None if ceiling.prompt is None else str(ceiling.prompt),
        max_completion_price=None if ceiling.completion is None else str(ceiling.completion),
        allow_fallbacks=asked.allow_fallbacks,
        require_parameters=asked.require_parameters,
    )


T = TypeVar("T", bound=Struct)


def converted(fields: dict[str, Any], shape: type[T]) -> T:
    """
    Read fields into a typed shape; unknown fields are passed over.

    :raises BadRequest: a wrong type or range; ``param`` names the field
    """
    try:
        return msgspec.convert(fields, shape)
    except msgspec.ValidationError as error:
        raise _wrong_field(str(error)) from None


def json_object(body: bytes) -> dict[str, Any]:
    """
    Read a JSON object.

    :raises BadRequest: not JSON, not an object, nested too deeply
    """
    if too_deep(body):
        raise BadRequest("invalid_json", f"The JSON is nested deeper than {DEEPEST} levels.")
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("invalid_json", "The request body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise BadRequest("invalid_json", "The request body must be a JSON object.")
    return fields


def too_deep(body: bytes) -> bool:
    """Tell whether JSON text is nested deeper than allowed; cheap for ordinary bodies."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    brackets = STRINGS.sub(b"", body).translate(None, NOT_BRACKETS)
    if len(brackets) > MOST_BRACKETS:
        return True
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > DEEPEST:
            return True
    return False


def _wrong_field(message: str) -> BadRequest:
    """Turn msgspec's ``… - at `$.messages[0].role``` into our sentence and ``param``."""
    problem, _, path = message.partition(" - at `$")
    param = path.rstrip("`").lstrip(".") or None
    if problem.startswith("Object missing required field"):
        missing = problem.split("`")[1]
        param = f"{param}.{missing}" if param else missing
        return BadRequest("invalid_parameter", f"Missing required field: {param}.", param=param)
    return BadRequest("invalid_parameter", f"Invalid value for {param}: {problem}.", param=param)


def refuse_ours(fields: dict[str, Any]) -> None:
    """
    Refuse what would tell a provider where to go or who we are.

    :raises BadRequest: one of these fields is there
    """
    for name in REFUSED:
        if name in fields:
            raise BadRequest("unsupported_parameter", f"{name} is not accepted.", param=name)


def _check(request: ChatRequest, fields: dict[str, Any]) -> None:
    refuse_ours(fields)
    stops = request.stop if isinstance(request.stop, list) else []
    if len(stops) > MOST_STOPS:
        message = f"stop takes at most {MOST_STOPS} sequences."
        raise BadRequest("invalid_parameter", message, param="stop")
    for name in UNPRICED:
        if fields.get(name) is not None:
            raise _unpriced(name)
    if request.service_tier not in (None, "auto", "default"):
        raise _unpriced("service_tier")
    if request.modalities and request.modalities != ["text"]:
        raise _unpriced("modalities")
    for position, tool in enumerate(request.tools or []):
        if tool.get("type") not in ("function", "custom"):
            raise _unpriced(f"tools[{position}].type")


def _unpriced(name: str) -> BadRequest:
    message = f"{name} has a cost without a bound; no route of this model prices it."
    return BadRequest("unpriced_parameter", message, param=name)


def _measure(request: ChatRequest, raw: list[dict[str, Any]]) -> tuple[int, int]:
    """
    Return a bound, in bytes, of all text in the messages, and the number of pictures.

    :raises BadRequest: a part whose cost has no bound
    """
    size = pictures = 0
    for position, (message, fields) in enumerate(zip(request.messages, raw, strict=True)):
        size += TOKENS_PER_MESSAGE
        if isinstance(message.content, str):
            size += len(message.content.encode())
        elif message.content is not None:
            for number, part in enumerate(message.content):
                if part.get("type") not in PARTS:
                    raise _unpriced(f"messages[{position}].content[{number}].type")
                size += _part_bytes(part)
                pictures += part["type"] == "image_url"
        others = {name: fields[name] for name in fields if name not in ("role", "content")}
        if others:
            size += len(msgspec.json.encode(others))
    return size, pictures


def _part_bytes(part: dict[str, Any]) -> int:
    """Return the bytes of a part's text; a picture's own address or data is none."""
    picture = part.get("image_url")
    if part["type"] == "image_url" and isinstance(picture, dict):
        part = part | {"image_url": {name: picture[name] for name in picture if name != "url"}}
    return len(msgspec.json.encode(part))
