"""
The text of a key: how it is made, recognised and turned into the digest we keep.

A key is a prefix, 26 random base62 characters (154 bits) and the CRC-32 of those 26 in six
base62 characters, the shape that GitHub's secret scanning asks of partners. The checksum
covers neither the prefix nor any secret: it only tells typing errors and junk from keys
without a database. Pure: no Django, no settings.
"""

from __future__ import annotations

import hmac
import re
from binascii import crc32
from collections.abc import Mapping
from typing import Final

from common import ids

RANDOM_LENGTH: Final = 26
CHECKSUM_LENGTH: Final = 6
SHAPE: Final = re.compile(r"[!-~]{0,64}?([0-9A-Za-z]{26})([0-9A-Za-z]{6})")


def checksum(random: str) -> str:
    """CRC-32 of the random part in six base62 digits (0-9A-Za-z), padded with zeros."""
    number = crc32(random.encode())
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(ids.BASE62[digit])
    return "".join(reversed(digits))


def mint(*, prefix: str) -> str:
    """A new key, to be shown once."""
    random = ids.random_base62(RANDOM_LENGTH)
    return f"{prefix}{random}{checksum(random)}"


def well_formed(text: str) -> bool:
    """Whether the text has our shape and checksum, whatever its prefix."""
    match = SHAPE.fullmatch(text)
    return match is not None and checksum(match[1]) == match[2]


def digest(text: str, *, pepper: bytes) -> bytes:
    """What the database keeps instead of the key: HMAC-SHA256 under a pepper."""
    return hmac.digest(pepper, text.encode("utf-8", "surrogateescape"), "sha256")


def current_digest(text: str, *, peppers: Mapping[str, bytes]) -> tuple[str, bytes]:
    """The id of the first pepper and the digest under it, for a key that is stored now."""
    pepper_id, pepper = next(iter(peppers.items()))
    return pepper_id, digest(text, pepper=pepper)


def digests(text: str, *, peppers: Mapping[str, bytes]) -> list[bytes]:
    """The digest under each configured pepper: where a presented key may be found."""
    return [digest(text, pepper=pepper) for pepper in peppers.values()]


def shown_prefix(text: str) -> str:
    """The part of a key that is shown before the dots: up to its last separator, or nothing."""
    head = text[:-32] if well_formed(text) else re.split(r"[^-_]*$", text[:12], maxsplit=1)[0]
    return head[:32]
