"""A conversation in Gemini's words: the system instruction apart, then contents of parts."""

from __future__ import annotations

from mimetypes import guess_type
from typing import Any
from urllib.parse import urlsplit

import msgspec

from proxy.upstreams import asked
from proxy.upstreams.asked import Image, ToolCall

Part = dict[str, Any]

# What Google documents for calls that come without the thought they sprang from.
UNSIGNED = "skip_thought_signature_validator"


def conversation(
    messages: list[dict[str, Any]], *, signed: bool
) -> tuple[list[Part], list[dict[str, Any]]]:
    """
    Return the system instruction and the contents; ``signed``: calls need a signature.

    :raises proxy.wire.call.BadRequest: something that Gemini has no words for
    """
    system: list[Part] = []
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for n, message in enumerate(messages):
        place = f"messages[{n}]"
        match message["role"]:
            case "system" | "developer":
                system += _system(message, place)
            case "user":
                _add(contents, "user", _user(message, place))
            case "assistant":
                calls = asked.tool_calls(message, place=place)
                names |= {call.id: call.name for call in calls}
                text = asked.text(message.get("content"), place=f"{place}.content")
                parts: list[Part] = [{"text": text}] if text else []
                _add(contents, "model", parts + _calls(calls, signed=signed))
            case "tool":
                _add(contents, "user", [_result(message, names, place)])
            case role:
                raise asked.unsupported(f"{place}.role", f"The role {role}")
    if not contents:
        return [], [{"role": "user", "parts": system}]
    return system, contents


def _add(contents: list[dict[str, Any]], role: str, parts: list[Part]) -> None:
    """Add parts to the content of a role, which is one however many messages it came in."""
    if not parts:
        return
    if contents and contents[-1]["role"] == role:
        contents[-1]["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts})


def _system(message: dict[str, Any], place: str) -> list[Part]:
    found = asked.texts(message.get("content"), place=f"{place}.content")
    return [_part(what) for what, _ in found if what]


def _user(message: dict[str, Any], place: str) -> list[Part]:
    found = asked.parts(message.get("content"), place=f"{place}.content")
    return [_part(what) for what, _ in found if what]


def _part(what: str | Image) -> Part:
    if isinstance(what, str):
        return {"text": what}
    if what.url:
        kind = guess_type(urlsplit(what.url).path)[0] or "image/jpeg"
        return {"fileData": {"mimeType": kind, "fileUri": what.url}}
    return {"inlineData": {"mimeType": what.media_type, "data": what.data}}


def _calls(calls: list[ToolCall], *, signed: bool) -> list[Part]:
    """Write calls with their signatures; of calls made at once only the first has one."""
    parts: list[Part] = []
    for call in calls:
        function = {"id": call.id, "name": call.name, "args": call.arguments}
        part: Part = {"functionCall": function}
        signature = _signature(call.fields)
        if signature is None and signed and not parts:
            signature = UNSIGNED
        if signature is not None:
            part["thoughtSignature"] = signature
        parts.append(part)
    return parts


def _signature(call: dict[str, Any]) -> str | None:
    match call:
        case {"extra_content": {"google": {"thought_signature": str(signature)}}}:
            return signature
    return None


def _result(message: dict[str, Any], names: dict[str, str], place: str) -> Part:
    id_ = message.get("tool_call_id")
    if not isinstance(id_, str) or id_ not in names:
        raise asked.invalid(f"{place}.tool_call_id", "no earlier message made this call")
    text = asked.text(message.get("content"), place=f"{place}.content")
    told = {"id": id_, "name": names[id_], "response": _response(text)}
    return {"functionResponse": told}


def _response(text: str) -> dict[str, Any]:
    """Return a result as the object that Gemini asks for."""
    try:
        told = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = text
    return told if isinstance(told, dict) else {"output": told}
