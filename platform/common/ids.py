"""
Identifiers.

A request has one UUIDv7 (RFC 9562, section 5.7), written in forms over one 26-character
body in Crockford's base32, lower case (the ULID alphabet): ``req_X`` (the x-request-id
header), ``chatcmpl-X`` (the body), ``gen_X``; ``cmpl-X`` and ``resp_X`` where an endpoint's
answers have such ids.
Everything else that a person may copy has a prefixed random id.
"""

from __future__ import annotations

import os
import secrets
import string
import time
from functools import lru_cache
from uuid import UUID, uuid5

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
CROCKFORD_VALUES = {letter: value for value, letter in enumerate(CROCKFORD)}
PAIRS = tuple(high + low for high in CROCKFORD for low in CROCKFORD)
REQUEST_PREFIXES = ("req_", "chatcmpl-", "gen_", "cmpl-", "resp_")
BODY_LENGTH = 26
SOURCES = UUID("5b0dbe0e-9bb4-5b2f-8f0e-6f0d0b6a4c55")


def request_id() -> UUID:
    """Return a new UUIDv7: 48 bits of Unix milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


# A request writes its id in several forms, to its caller and to its provider.
@lru_cache(maxsize=1024)
def body(value: UUID) -> str:
    """Return the 26 characters that all forms of a request id share."""
    number = value.int
    return "".join([PAIRS[number >> shift & 0x3FF] for shift in range(120, -1, -10)])


def form(prefix: str, value: UUID) -> str:
    """Return a request id in one of its forms: ``form("req_", id)``."""
    return prefix + body(value)


def parse_request(text: str) -> UUID | None:
    """Read a request id in any of its forms; None if it is none of them."""
    for prefix in REQUEST_PREFIXES:
        if text.startswith(prefix):
            return _parse_body(text.removeprefix(prefix))
    return None


def _parse_body(text: str) -> UUID | None:
    if len(text) != BODY_LENGTH:
        return None
    number = 0
    for letter in text:
        value = CROCKFORD_VALUES.get(letter)
        if value is None:
            return None
        number = number << 5 | value
    return UUID(int=number) if number < 1 << 128 else None


def public(prefix: str) -> str:
    """Return a new public id, e.g. ``public("ws")`` gives ``ws_`` and 20 base62 characters."""
    return f"{prefix}_{random_base62(20)}"


def random_base62(length: int) -> str:
    """Return ``length`` random base62 characters from the system's generator."""
    return "".join(secrets.choice(BASE62) for _ in range(length))


def source(namespace: str, external_id: str) -> UUID:
    """Return the ledger's source id of an external object; equal input gives an equal id."""
    return uuid5(SOURCES, f"{namespace}:{external_id}")
