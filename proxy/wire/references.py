"""
Ids that carry what was said, for a client that sends ids back in place of words.

Nothing of an answer is kept here. The AI SDK refers to an earlier message by its id unless it is
told not to; for it every answer ends with an empty reasoning item, which it refers to as well,
and whose id carries the words of the messages before it.
"""

from __future__ import annotations

import base64
import zlib

import msgspec

PREFIX = "rs_"
MARK = "."
MOST_BYTES = 1024 * 1024


def carrier(id: str, words: dict[str, str]) -> str:
    """Return an id that carries messages' words by the messages' ids."""
    packed = base64.urlsafe_b64encode(zlib.compress(msgspec.json.encode(words)))
    return f"{id}{MARK}{packed.decode().rstrip('=')}"


def carried(id: str) -> dict[str, str]:
    """Return the words that an id carries, by message; none where it carries nothing."""
    _, mark, packed = id.partition(MARK)
    if not (mark and id.startswith(PREFIX)):
        return {}
    try:
        unpacker = zlib.decompressobj()
        data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        text = unpacker.decompress(data, MOST_BYTES)
        return msgspec.json.decode(text, type=dict[str, str])
    except (ValueError, zlib.error, msgspec.DecodeError):
        return {}
