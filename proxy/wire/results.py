"""
Lists of embeddings or pictures, relayed without unpacking them.

A picture is megabytes of base64: it is counted and passed on as the bytes it came in.
Reference: https://platform.openai.com/docs/api-reference/images/object
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from proxy.wire.answers import NO_USAGE, Completion, Garbage, Usage, read_usage

MISSING = Raw(b"")
NOTHING = (b"", b"null", b'""', b"[]")
LONGEST_WORD = 32


class Head(Struct):
    """What tells a list of results from a chat completion."""

    data: Raw = MISSING
    error: dict[str, Any] | str | None = None


class Picture(Struct, omit_defaults=True):
    """A picture; what else a provider says of it is not passed on."""

    b64_json: Raw = MISSING
    url: Raw = MISSING
    revised_prompt: Raw = MISSING


class Result(Picture):
    """One of them; which field it has tells what it is."""

    embedding: Raw = MISSING
    index: Any = None


def read(body: bytes) -> Completion | None:
    """
    Read a list of results; None where a body is no such list.

    :raises Garbage: a list, but not of embeddings or pictures
    """
    try:
        head = msgspec.json.decode(body, type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not _is_there(head.data) or head.error:
        return None
    try:
        results = msgspec.json.decode(head.data, type=list[Result])
        fields = msgspec.json.decode(body, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Garbage("no results") from None
    pictures = sum(_is_there(one.b64_json) or _is_there(one.url) for one in results)
    vectors = sum(_is_there(one.embedding) for one in results)
    if not results or max(pictures, vectors) != len(results):
        raise Garbage("results without content")
    told: dict[str, Any] = {
        name: value if name == "data" else msgspec.json.decode(value)
        for name, value in fields.items()
    }
    usage = pictures_made(pictures, told) if pictures else read_usage(told.get("usage"))
    return Completion(told, usage, 0, "", contradicted=bool(told.get("usage")) and usage is None)


def pictures_of(data: Raw) -> list[Picture]:
    """Return the pictures of a list that was read, with nothing else in them."""
    return msgspec.json.decode(data, type=list[Picture])


def vectors_of(data: Raw) -> list[dict[str, Any]]:
    """Return the embeddings of a list that was read, with nothing else in them."""
    results = msgspec.json.decode(data, type=list[Result])
    return [
        {
            "object": "embedding",
            "index": position if type(one.index) is not int else one.index,
            "embedding": one.embedding,
        }
        for position, one in enumerate(results)
    ]


def pictures_made(count: int, told: dict[str, Any]) -> Usage:
    """Return so many pictures as usage, with the size and quality that a provider tells."""
    return msgspec.structs.replace(
        NO_USAGE, pictures=count, size=_word(told.get("size")), quality=_word(told.get("quality"))
    )


def _is_there(value: Raw) -> bool:
    return bytes(memoryview(value)[:5]).strip() not in NOTHING


def _word(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= LONGEST_WORD else ""
