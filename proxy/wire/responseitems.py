"""
The items of a response's input, read as the messages of a chat.

Reference: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from proxy.wire import chat, references
from proxy.wire.call import BadRequest

Message = dict[str, Any]
TEXTS = ("input_text", "output_text", "text")

# What ids carry counts like a body: as much as a body may have.
MOST_CARRIED = 20 * 1024 * 1024


class MessageItem(Struct):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[dict[str, Any]]


class FunctionCall(Struct):
    call_id: str
    name: str
    arguments: str


class FunctionCallOutput(Struct):
    call_id: str
    output: str | list[dict[str, Any]]


class Reference(Struct):
    id: str


class TextPart(Struct):
    text: str


class RefusalPart(Struct):
    refusal: str


class ImagePart(Struct):
    image_url: str
    detail: str = "auto"


def messages(given: str | list[Any]) -> list[Message]:
    """
    Return the messages of an input.

    :raises BadRequest: an item that no chat has, or of a wrong type
    """
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    told: list[Message] = []
    known = words_by_id(given)
    spent = 0
    for position, item in enumerate(given):
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            spent += len(known.get(item["id"], ""))
        if spent > MOST_CARRIED:
            raise _too_much()
        place = f"input[{position}]"
        try:
            add(told, item, known)
        except BadRequest as error:
            param = f"{place}.{error.param}" if error.param else place
            raise BadRequest(error.reason, error.message, param=param) from None
    return told


def words_by_id(given: list[Any]) -> dict[str, str]:
    """Return the words of earlier messages that ids in the input carry."""
    ids = dict.fromkeys(
        item["id"] for item in given if isinstance(item, dict) and isinstance(item.get("id"), str)
    )
    known: dict[str, str] = {}
    spent = 0
    for id in ids:
        for message, text in references.carried(id).items():
            spent += len(text)
            if spent > MOST_CARRIED:
                raise _too_much()
            known[message] = text
    return known


def _too_much() -> BadRequest:
    message = "The ids in the input carry more words than a request may have. Send the items."
    return BadRequest("invalid_parameter", message, param="input")


def add(told: list[Message], item: Any, known: dict[str, str]) -> None:
    """
    Add an item to the messages.

    :raises BadRequest: no chat has such an item, or it is of a wrong type
    """
    if not isinstance(item, dict):
        raise BadRequest("invalid_parameter", "An input item is an object.")
    kind = item.get("type") or "message"
    if kind == "message":
        _add_message(told, chat.converted(item, MessageItem))
    elif kind == "function_call":
        _add_call(told, chat.converted(item, FunctionCall))
    elif kind == "function_call_output":
        _add_output(told, chat.converted(item, FunctionCallOutput))
    elif kind == "item_reference":
        _add_reference(told, chat.converted(item, Reference), known)
    elif kind != "reasoning":
        raise _unsupported(f"Input items of type {str(kind)[:40]!r} are not supported.", "type")


def _add_message(told: list[Message], item: MessageItem) -> None:
    content = item.content if isinstance(item.content, str) else _parts(item.content)
    if item.role != "assistant":
        told.append({"role": item.role, "content": content})
        return
    if not isinstance(content, str) and all(part["type"] == "text" for part in content):
        content = "".join(part["text"] for part in content)
    if _is_open(told) and told[-1]["content"] is None:
        told[-1]["content"] = content
    else:
        told.append({"role": "assistant", "content": content})


def _add_call(told: list[Message], item: FunctionCall) -> None:
    if not _is_open(told):
        told.append({"role": "assistant", "content": None})
    function = {"name": item.name, "arguments": item.arguments}
    call = {"id": item.call_id, "type": "function", "function": function}
    told[-1].setdefault("tool_calls", []).append(call)


def _add_output(told: list[Message], item: FunctionCallOutput) -> None:
    content = item.output
    if not isinstance(content, str):
        parts = [_part(part, position) for position, part in enumerate(content)]
        if any(part["type"] != "text" for part in parts):
            raise _unsupported("A function's output is text here.", "output")
        content = "".join(part["text"] for part in parts)
    told.append({"role": "tool", "tool_call_id": item.call_id, "content": content})


def _add_reference(told: list[Message], item: Reference, known: dict[str, str]) -> None:
    # Reasoning is not sent back to a model, so nothing is lost.
    if item.id.startswith(references.PREFIX):
        return
    if item.id not in known:
        message = (
            "Responses are not kept here, so an id does not find its item: send the item itself. "
            "In the AI SDK set providerOptions.openai.store to false."
        )
        raise _unsupported(message, "id")
    _add_message(told, MessageItem("assistant", known[item.id]))


def _is_open(told: list[Message]) -> bool:
    """Tell whether the last message is the assistant's, so that a call can join it."""
    return bool(told) and told[-1]["role"] == "assistant"


def _parts(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return the parts of a message; a single text is a string, as most providers prefer."""
    parts = [_part(part, position) for position, part in enumerate(content)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(part: dict[str, Any], position: int) -> dict[str, Any]:
    kind, place = part.get("type"), f"content[{position}]"
    try:
        if kind in TEXTS:
            return {"type": "text", "text": chat.converted(part, TextPart).text}
        if kind == "refusal":
            return {"type": "refusal", "refusal": chat.converted(part, RefusalPart).refusal}
        if kind == "input_image" and part.get("file_id") is None:
            picture = chat.converted(part, ImagePart)
            url = {"url": picture.image_url, "detail": picture.detail}
            return {"type": "image_url", "image_url": url}
    except BadRequest as error:
        param = f"{place}.{error.param}"
        raise BadRequest(error.reason, error.message, param=param) from None
    raise _unsupported(f"Content of type {str(kind)[:40]!r} is not supported.", f"{place}.type")


def _unsupported(message: str, param: str) -> BadRequest:
    return BadRequest("unsupported_parameter", message, param=param)
