"""Ethereum addresses: Keccak-256 and the checksum of EIP-55."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from Crypto.Hash import keccak

PATTERN: Final = re.compile(r"0x[0-9a-fA-F]{40}")


def keccak256(message: bytes) -> bytes:
    """Return the hash that Ethereum calls Keccak-256; SHA3-256 pads differently."""
    return keccak.new(digest_bits=256, data=message).digest()


# Each log of a range names some of the same addresses.
@lru_cache(maxsize=4096)
def checksummed(address: str) -> str:
    """
    Return an address with the capital letters of EIP-55.

    :raises ValueError: it is no address
    """
    if PATTERN.fullmatch(address) is None:
        raise ValueError(f"{address!r} is no address: write 0x and 40 hexadecimal digits.")
    digits = address[2:].lower()
    marks = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        letter.upper() if int(mark, 16) >= 8 else letter
        for letter, mark in zip(digits, marks, strict=False)
    )


def of_public_key(point: bytes) -> str:
    """Return the address of an uncompressed public key (65 bytes, the first of them 4)."""
    return checksummed("0x" + keccak256(point[1:])[-20:].hex())


def topic(address: str) -> str:
    """Return an address as a log's topic: 32 bytes, lower case."""
    return "0x" + address[2:].lower().rjust(64, "0")


def of_topic(word: str) -> str:
    """Return the address in a log's topic, with its checksum."""
    return checksummed("0x" + word[-40:])
