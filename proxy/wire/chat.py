"""
A chat completion request as callers send it: typed, ranged, otherwise passed through.

Reference: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

DEEPEST = 64
MOST_STOPS = 10
# Consumed here or refused here; none of them ever travels to a provider.
REFUSED = ("api_base", "base_url", "api_key", "extra_headers", "organization")
NOT_YET_OFFERED = ("models", "provider")
UNPRICED = ("web_search_options", "prediction", "audio")
# What a prompt costs beyond its text: role, separators, the list's own structure.
TOKENS_PER_MESSAGE = 8


class BadRequest(Exception):
    """The body is refused: a reason of the closed list, a sentence, the field."""

    def __init__(self, reason: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param


class Message(Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(Struct):
    include_usage: bool = False


Unit = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]


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

    @property
    def output_limit(self) -> int | None:
        """Return the most output tokens the caller asked for, per choice."""
        given = [x for x in (self.max_tokens, self.max_completion_tokens) if x is not None]
        return min(given) if given else None

    @property
    def choices(self) -> int:
        """Return how many answers are asked for."""
        return self.n or 1


class Call(Struct, frozen=True):
    """A checked request: the typed view and every field as it came."""

    request: ChatRequest
    fields: dict[str, Any]
    prompt_bytes: int
    pictures: int

    @property
    def include_usage(self) -> bool:
        """Tell whether the caller asked for the usage chunk of a stream."""
        options = self.request.stream_options
        return options is not None and options.include_usage


def parse(body: bytes) -> Call:
    """
    Read and check a request body.

    :raises BadRequest: not JSON, nested too deeply, a wrong type or range, a field that is
        refused or has no price
    """
    fields = _fields(body)
    try:
        request = msgspec.convert(fields, ChatRequest)
    except msgspec.ValidationError as error:
        raise _wrong_field(str(error)) from None
    _check(request, fields)
    prompt_bytes, pictures = _measure(request, fields["messages"])
    if request.tools:
        prompt_bytes += len(msgspec.json.encode(request.tools))
    if request.response_format:
        prompt_bytes += len(msgspec.json.encode(request.response_format))
    return Call(request=request, fields=fields, prompt_bytes=prompt_bytes, pictures=pictures)


def _fields(body: bytes) -> dict[str, Any]:
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
    depth = 0
    inside = escaped = False
    for byte in body:
        if inside:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                inside = False
        elif byte == 0x22:
            inside = True
        elif byte in b"[{":
            depth += 1
            if depth > DEEPEST:
                return True
        elif byte in b"]}":
            depth -= 1
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


def _check(request: ChatRequest, fields: dict[str, Any]) -> None:
    for name in REFUSED:
        if name in fields:
            raise BadRequest("unsupported_parameter", f"{name} is not accepted.", param=name)
    for name in NOT_YET_OFFERED:
        if fields.get(name) is not None:
            raise BadRequest(
                "unsupported_parameter", f"{name} is not supported by this gateway.", param=name
            )
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
    """Return a bound, in bytes, of all text in the messages, and the number of pictures."""
    size = pictures = 0
    for message, fields in zip(request.messages, raw, strict=True):
        size += TOKENS_PER_MESSAGE
        if isinstance(message.content, str):
            size += len(message.content.encode())
        elif message.content is not None:
            for part in message.content:
                if part.get("type") == "image_url":
                    pictures += 1
                else:
                    size += len(msgspec.json.encode(part))
        if len(fields) > 2:
            others = {name: fields[name] for name in fields if name not in ("role", "content")}
            size += len(msgspec.json.encode(others))
    return size, pictures


def upstream_body(
    call: Call,
    *,
    upstream_model: str,
    output_limit: int | None,
    limit_name: str,
    drop: frozenset[str] = frozenset(),
) -> bytes:
    """
    Write the body for a provider: its model name, its name of the output limit, usage asked.

    ``output_limit`` None leaves the caller's own limit, if any, in place.
    """
    fields = {
        name: value for name, value in call.fields.items() if value is not None and name not in drop
    }
    fields["model"] = upstream_model
    limit = output_limit if output_limit is not None else call.request.output_limit
    fields.pop("max_tokens", None)
    fields.pop("max_completion_tokens", None)
    if limit is not None:
        fields[limit_name] = limit
    if call.request.stream:
        fields["stream_options"] = {
            **(fields.get("stream_options") or {}),
            "include_usage": True,
        }
    else:
        fields.pop("stream_options", None)
    return msgspec.json.encode(fields)
