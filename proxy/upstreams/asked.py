"""What a chat completion asks, in OpenAI's words, read strictly for formats that translate it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from proxy.upstreams.base import Target
from proxy.wire.call import BadRequest, Call

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
DATA_URL = re.compile(r"data:([a-z0-9.+/-]+);base64,", re.IGNORECASE)


class Reasoning(Struct, frozen=True):
    """How hard to think: in a word, or in tokens; ``shown``: the caller wants to read it."""

    effort: str
    budget_tokens: int | None
    shown: bool


class ToolCall(Struct, frozen=True):
    """A call that the assistant made earlier; ``fields`` is all that the caller sent of it."""

    id: str
    name: str
    arguments: dict[str, Any]
    fields: dict[str, Any]


class Tool(Struct, frozen=True):
    """A function that the model may call."""

    name: str
    description: str | None
    parameters: dict[str, Any]
    strict: bool


class ToolChoice(Struct, frozen=True):
    """Whether a function is to be called, and which."""

    mode: Literal["auto", "none", "required", "function"]
    name: str = ""


class Image(Struct, frozen=True):
    """A picture: base64 with its media type, or an address that the provider fetches."""

    url: str = ""
    media_type: str = ""
    data: str = ""


def invalid(param: str, problem: str) -> BadRequest:
    """Return the refusal of a field that says something that cannot be."""
    return BadRequest("invalid_parameter", f"Invalid value for {param}: {problem}.", param=param)


def unsupported(param: str, what: str) -> BadRequest:
    """Return the refusal of something that the provider has no words for."""
    message = f"{what} is not supported by this model's provider."
    return BadRequest("unsupported_parameter", message, param=param)


def fields(*, target: Target, call: Call) -> dict[str, Any]:
    """Return what was sent, without what the model does not take."""
    return {
        name: value
        for name, value in call.fields.items()
        if value is not None and name not in target.drop
    }


def output_limit(*, target: Target, call: Call) -> int | None:
    """Return the limit to send: clamped, or the caller's, or the model's own."""
    return target.output_limit or call.output_limit or target.max_output_tokens


def refuse_common(call: Call) -> None:
    """
    Refuse what no translated format serves and what must not be dropped in silence.

    :raises BadRequest: several choices, functions in their old form
    """
    if call.choices > 1:
        raise unsupported("n", "More than one choice")
    for name in ("functions", "function_call"):
        if call.fields.get(name) is not None:
            raise unsupported(name, f"{name} (use tools)")


def reasoning(sent: dict[str, Any]) -> Reasoning | None:
    """
    Read ``reasoning_effort``, or OpenRouter's ``reasoning``, which goes before it.

    :raises BadRequest: a wrong type or an unknown level
    """
    wish = sent.get("reasoning") or {}
    if not isinstance(wish, dict):
        raise invalid("reasoning", "expected an object")
    effort = wish.get("effort") or sent.get("reasoning_effort")
    budget = wish.get("max_tokens")
    enabled = wish.get("enabled")
    if effort is None and budget is None and enabled is None:
        return None
    if effort is not None and effort not in EFFORTS:
        raise invalid("reasoning_effort", f"expected one of {', '.join(EFFORTS)}")
    if budget is not None and (type(budget) is not int or budget < 0):
        raise invalid("reasoning.max_tokens", "expected a whole number")
    if enabled is False or budget == 0:
        effort, budget = "none", None
    return Reasoning(effort or "medium", budget, shown=not wish.get("exclude"))


def stops(sent: dict[str, Any]) -> list[str]:
    """Return the stop sequences."""
    stop = sent.get("stop")
    return [stop] if isinstance(stop, str) else list(stop or ())


def schema(sent: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """
    Return the type of answer that is asked for, and its JSON Schema if it has one.

    :raises BadRequest: an unknown type, or a schema that is not an object
    """
    wanted = sent.get("response_format") or {"type": "text"}
    kind = wanted.get("type")
    if kind in ("text", "json_object"):
        return kind, None
    if kind != "json_schema":
        raise invalid("response_format.type", "expected text, json_object or json_schema")
    described = wanted.get("json_schema")
    found = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(found, dict):
        raise invalid("response_format.json_schema.schema", "expected an object")
    return kind, found


def tools(sent: dict[str, Any]) -> list[Tool]:
    """
    Return the functions on offer.

    :raises BadRequest: a tool of another kind, or without a name
    """
    return [_tool(tool, f"tools[{n}]") for n, tool in enumerate(sent.get("tools") or ())]


def _tool(tool: dict[str, Any], place: str) -> Tool:
    if tool.get("type") != "function":
        raise unsupported(place, f"A tool of type {tool.get('type')!r}")
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise invalid(f"{place}.function", "expected an object with a name")
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, dict):
        raise invalid(f"{place}.function.parameters", "expected an object")
    return Tool(
        name=function["name"],
        description=function.get("description"),
        parameters=parameters,
        strict=function.get("strict") is True,
    )


def tool_choice(sent: dict[str, Any]) -> ToolChoice | None:
    """
    Return which function is to be called.

    :raises BadRequest: a choice that is not known
    """
    choice = sent.get("tool_choice")
    match choice:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("function", name)
    raise unsupported("tool_choice", "This tool_choice")


def text(content: Any, *, place: str) -> str:
    """
    Return the text of a message that can hold nothing else.

    :raises BadRequest: it holds something else
    """
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(_text_part(part, f"{place}[{n}]") for n, part in enumerate(content))


def _text_part(part: dict[str, Any], place: str) -> str:
    found = part.get("text") if part.get("type") == "text" else part.get("refusal")
    if not isinstance(found, str):
        raise unsupported(place, f"Content of type {part.get('type')!r} here")
    return found


def texts(content: Any, *, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """
    Yield the texts of a message that can hold nothing else, each with its fields.

    :raises BadRequest: it holds something else
    """
    for what, part in parts(content, place=place):
        if isinstance(what, Image):
            raise unsupported(place, "A picture here")
        yield what, part


def parts(content: Any, *, place: str) -> Iterator[tuple[str | Image, dict[str, Any]]]:
    """
    Yield what a user's message holds, each with its fields.

    :raises BadRequest: neither text nor a picture
    """
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for n, part in enumerate(content or ()):
        if part.get("type") == "image_url":
            yield image(part.get("image_url"), place=f"{place}[{n}].image_url"), part
        else:
            yield _text_part(part, f"{place}[{n}]"), part


def image(source: Any, *, place: str) -> Image:
    """
    Read a picture's source.

    :raises BadRequest: neither a base64 data URL nor an http(s) address
    """
    url = source.get("url") if isinstance(source, dict) else source
    if not isinstance(url, str):
        raise invalid(place, "expected an object with a url")
    if found := DATA_URL.match(url):
        return Image(media_type=found[1].lower(), data=url[found.end() :])
    if url.startswith(("https://", "http://")):
        return Image(url=url)
    raise invalid(place, "expected an http(s) address or a base64 data URL")


def tool_calls(message: dict[str, Any], *, place: str) -> list[ToolCall]:
    """
    Return the calls that an assistant's message made.

    :raises BadRequest: one that is not a function's, or whose arguments are not an object
    """
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise invalid(f"{place}.tool_calls", "expected a list")
    return [_tool_call(call, f"{place}.tool_calls[{n}]") for n, call in enumerate(calls)]


def _tool_call(call: Any, place: str) -> ToolCall:
    match call:
        case {"id": str(id_), "function": {"name": str(name), **rest}}:
            return ToolCall(id_, name, _arguments(rest.get("arguments"), place), call)
    raise invalid(place, "expected a function call with an id and a name")


def _arguments(text: Any, place: str) -> dict[str, Any]:
    if text in (None, ""):
        return {}
    try:
        arguments = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise invalid(f"{place}.function.arguments", "expected a JSON object as text")
    return arguments
