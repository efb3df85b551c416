"""
A chat completion request as callers send it: typed, ranged, otherwise passed through.

Reference: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from proxy.wire import preferences
from proxy.wire.call import BadRequest, Call
from proxy.wire.chatfields import ChatRequest, Tool

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
# Its verdicts would be lost: answers carry nothing but the model's words.
UNANSWERED = "moderation"
PARTS = frozenset({"text", "image_url", "refusal"})
# Fields that a provider does not put into the prompt.
NO_PROMPT = frozenset(
    {"messages", "metadata", "stream_options", "provider", "models", "sandbox", "logit_bias"}
)
DOCUMENTED = frozenset(ChatRequest.__struct_fields__)
STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
MOST_BRACKETS = 1_000_000
# What a prompt costs beyond its text: role, separators, the list's own structure.
TOKENS_PER_MESSAGE = 8


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
        elif isinstance(value, str) and name not in DOCUMENTED:
            # Nobody knows what a provider does with it; some take whole templates.
            prompt_bytes += len(value.encode())
    options = request.stream_options
    limits = [x for x in (request.max_tokens, request.max_completion_tokens) if x is not None]
    stop = request.stop or ()
    return Call(
        kind="chat",
        model=request.model,
        models=tuple(request.models or ()),
        preferences=preferences.read(request.provider, fields.get("provider")),
        unheard=unheard(fields, request.provider) | _without_stream(request),
        fields={name: value for name, value in fields.items() if name not in CONSUMED},
        stream=bool(request.stream),
        include_usage=options is not None and bool(options.include_usage),
        prompt_bytes=prompt_bytes,
        pictures=pictures,
        output_limit=min(limits) if limits else None,
        choices=request.n or 1,
        stops=1 if isinstance(stop, str) else len(stop),
        searches=fields.get("web_search_options") is not None,
    )


def unheard(fields: dict[str, Any], asked: preferences.ProviderFields | None) -> frozenset[str]:
    """Return what was sent and nothing here follows; only a generation is made later."""
    wishes = preferences.unheard(asked)
    return wishes | {"async"} if fields.get("async") else wishes


def _without_stream(request: ChatRequest) -> frozenset[str]:
    stray = request.stream_options is not None and not request.stream
    return frozenset({"stream_options"}) if stray else frozenset()


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
    if fields.get(UNANSWERED) is not None:
        message = f"{UNANSWERED} is not supported: its verdicts are not passed on."
        raise BadRequest("unsupported_parameter", message, param=UNANSWERED)
    for name in UNPRICED:
        if fields.get(name) is not None:
            raise _unpriced(name)
    if request.service_tier not in (None, "auto", "default"):
        raise _unpriced("service_tier")
    if request.modalities and request.modalities != ["text"]:
        raise _unpriced("modalities")
    for position, tool in enumerate(request.tools or []):
        _check_tool(tool, f"tools[{position}]")
    if request.response_format is not None and request.response_format.type == "json_schema":
        _require(request.response_format.json_schema, "response_format.json_schema")


def _check_tool(tool: Tool, place: str) -> None:
    if tool.type not in ("function", "custom"):
        raise _unpriced(f"{place}.type")
    _require(tool.function if tool.type == "function" else tool.custom, f"{place}.{tool.type}")


def _require(value: object, param: str) -> None:
    if value is None:
        raise BadRequest("invalid_parameter", f"Missing required field: {param}.", param=param)


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
                kind = part.get("type")
                if not isinstance(kind, str) or kind not in PARTS:
                    raise _unpriced(f"messages[{position}].content[{number}].type")
                size += _part_bytes(part)
                pictures += part["type"] == "image_url"
        # Speech of an earlier answer: its tokens cannot be bounded by an id.
        if fields.get("audio") is not None:
            raise _unpriced(f"messages[{position}].audio")
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
