"""
The words of one call as they are kept where a workspace chose so (``PromptLog``).

What a caller sent and was answered, as JSON; the answer of a stream as one whole one. Pictures,
files and vectors are told by their size and digest. What is longer than the bound is cut off.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from django.conf import settings
from msgspec import Struct

from proxy.wire import images as pictures

if TYPE_CHECKING:
    from proxy.routing import Leg
    from proxy.surfaces.base import Outcome, Rendering

FILE: Final = re.compile(r"data:([\w.+/-]*)(?:;[\w.+=-]+)*;base64,([A-Za-z0-9+/=_-]*)")
# Fields that hold a file without saying so.
OF_FILES: Final = frozenset({"b64_json", "data", "file_data", "result", "embedding"})
SHORTEST_FILE: Final = 64
BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
OF_WORDS: Final = ("tool_calls", "images", "annotations")


class Said(Struct, frozen=True):
    """What was said in one completed call, not yet written down; ``size`` is that of its words."""

    id: UUID
    workspace_id: int
    key_id: int
    asked: bytes
    answered: Any
    size: int


class Words(Struct, frozen=True):
    """What is sealed of a call: two texts of JSON, each whole or cut off."""

    request: str
    answer: str
    request_cut: bool = False
    answer_cut: bool = False


def words_of(said: Said) -> Words:
    """
    Return what is kept of a call.

    :raises msgspec.DecodeError: it is no JSON
    """
    asked = msgspec.json.encode(without_files(msgspec.json.decode(said.asked)))
    answered = said.answered
    if isinstance(answered, bytes):
        answered = msgspec.json.decode(answered)
    told = msgspec.json.encode(without_files(answered))
    # Each may have what the other leaves.
    most: int = settings.PROMPT_LOG_BYTES
    answer, answer_cut = cut(told, max(most // 2, most - len(asked)))
    request, request_cut = cut(asked, most - min(len(told), len(answer.encode())))
    return Words(request, answer, request_cut, answer_cut)


def cut(text: bytes, most: int) -> tuple[str, bool]:
    """Return a text within a bound, and whether some of it is missing."""
    return text[:most].decode("utf-8", "ignore"), len(text) > most


def without_files(value: Any, name: str = "") -> Any:
    """Return JSON with each file in it replaced by its size and digest."""
    if isinstance(value, dict):
        return {inner: without_files(each, inner) for inner, each in value.items()}
    if isinstance(value, list):
        if name == "embedding":
            return told(msgspec.json.encode(value), "vector")
        return [without_files(each, name) for each in value]
    return without_file(value, name) if isinstance(value, str) else value


def without_file(text: str, name: str) -> str:
    """Return a text without the files in it, or what one is that it is itself."""
    if "base64," in text:
        return FILE.sub(lambda found: told(decoded(found[2]), found[1] or "file"), text)
    if name in OF_FILES and len(text) >= SHORTEST_FILE and BASE64.fullmatch(text):
        return told(decoded(text), "file")
    return text


def decoded(text: str) -> bytes:
    """Return the bytes of a file, or its text where that cannot be read."""
    padded = text.rstrip("=").translate({45: "+", 95: "/"})
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4))
    except binascii.Error:
        return text.encode()


def told(content: bytes, kind: str) -> str:
    """Return what is kept of a file."""
    return f"[{kind}, {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}]"


class Overheard:
    """A stream as its caller sees it, listened to: what it said, as one answer."""

    def __init__(self, rendering: Rendering) -> None:
        self.rendering = rendering
        self.size = 0
        self._choices: dict[int, dict[str, Any]] = {}
        self._pictures: list[dict[str, Any]] = []

    def chunk(self, chunk: dict[str, Any], leg: Leg) -> bytes:
        """Return the events of one chunk."""
        if chunk.get("type") == pictures.COMPLETED:
            self._pictures.append({"b64_json": self._counted(chunk.get("b64_json"))})
        for choice in chunk.get("choices") or ():
            self._take(choice)
        return self.rendering.chunk(chunk, leg)

    async def end(self, outcome: Outcome) -> bytes:
        """Return the last events of a whole stream."""
        return await self.rendering.end(outcome)

    async def broken(self, error: dict[str, Any]) -> bytes:
        """Return the events that tell a caller that the stream broke off."""
        return await self.rendering.broken(error)

    def answered(self) -> dict[str, Any]:
        """Return all that was said as an answer without a stream would have it."""
        if self._pictures:
            return {"data": self._pictures}
        return {"choices": [whole(i, choice) for i, choice in sorted(self._choices.items())]}

    def _take(self, choice: dict[str, Any]) -> None:
        index = choice.get("index") or 0
        known = self._choices.setdefault(index, {"said": {}, "calls": {}, "end": None})
        delta = choice.get("delta")
        if isinstance(delta, dict):
            for name, value in delta.items():
                self._take_part(known, name, value)
        known["end"] = choice.get("finish_reason") or known["end"]

    def _take_part(self, known: dict[str, Any], name: str, value: Any) -> None:
        if name == "tool_calls":
            for call in value or ():
                self._take_call(known["calls"], call)
        elif isinstance(value, str) and value and name != "role":
            known["said"].setdefault(name, []).append(self._counted(value))
        elif name in OF_WORDS and isinstance(value, list):
            known["said"].setdefault(name, []).extend(value)

    def _take_call(self, calls: dict[int, dict[str, Any]], call: dict[str, Any]) -> None:
        function = call.get("function") or {}
        known = calls.setdefault(call.get("index") or 0, {"id": "", "name": "", "arguments": []})
        known["id"] = known["id"] or call.get("id") or ""
        known["name"] = known["name"] or function.get("name") or ""
        known["arguments"].append(self._counted(function.get("arguments")))

    def _counted(self, text: Any) -> str:
        words = text if isinstance(text, str) else ""
        self.size += len(words)
        return words


def whole(index: int, choice: dict[str, Any]) -> dict[str, Any]:
    """Return one choice of a stream as an answer has it."""
    message: dict[str, Any] = {"role": "assistant"}
    for name, parts in choice["said"].items():
        message[name] = parts if name in OF_WORDS else "".join(parts)
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": "".join(call["arguments"])},
        }
        for _, call in sorted(choice["calls"].items())
    ]
    if calls:
        message["tool_calls"] = calls
    return {"index": index, "message": message, "finish_reason": choice["end"]}
