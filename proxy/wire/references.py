"""
Item ids that carry their item, so that a client may send an id back instead of the item.

Nothing of an answer is kept here. The AI SDK sends references to earlier items unless it is
told not to; what it refers to travels in the id itself.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import msgspec

MARK = "."
MOST_BYTES = 20 * 1024 * 1024


class Unreadable(Exception):
    """An id that carries nothing."""


def carry(item: dict[str, Any]) -> str:
    """Return an id that carries an item."""
    told = {name: value for name, value in item.items() if name != "id"}
    packed = base64.urlsafe_b64encode(zlib.compress(msgspec.json.encode(told)))
    return f"{item['id']}{MARK}{packed.decode().rstrip('=')}"


def carried(id: str) -> dict[str, Any]:
    """
    Return the item that an id carries.

    :raises Unreadable: it carries none
    """
    _, mark, packed = id.partition(MARK)
    if not mark:
        raise Unreadable
    try:
        unpacker = zlib.decompressobj()
        data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        item = msgspec.json.decode(unpacker.decompress(data, MOST_BYTES))
    except (ValueError, binascii.Error, zlib.error, msgspec.DecodeError, RecursionError):
        raise Unreadable from None
    if not isinstance(item, dict) or unpacker.unconsumed_tail:
        raise Unreadable
    return item
