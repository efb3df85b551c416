"""
Key rings in the environment: ``id:base64[,id:base64…]``.

The first key is used for writing, all are read, so that keys can be rotated.
"""

from __future__ import annotations

import base64
import binascii

KEY_BYTES = 32


def parse_keyring(text: str, *, name: str) -> dict[str, bytes]:
    """
    Read a key ring into keys by id, current key first.

    :raises ValueError: an entry is not ``id:base64`` of 32 bytes
    """
    keys: dict[str, bytes] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key_id, _, encoded = entry.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not key_id or len(key) != KEY_BYTES:
            raise ValueError(
                f"{name} must be id:base64 of {KEY_BYTES} bytes; make one with: "
                'python3 -c "import secrets, base64; '
                "print('k1:' + base64.b64encode(secrets.token_bytes(32)).decode())\""
            )
        keys[key_id] = key
    return keys
