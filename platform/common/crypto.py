"""
Secrets at rest: AES-256-GCM under a named key, so that keys can be rotated.

What is handed out instead of kept has a purpose, and a key of its own that follows from the named
one (HKDF, RFC 5869): nothing sealed for one purpose opens where another is meant.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

NONCE_BYTES = 12
KEY_BYTES = 32


class UnreadableSecret(Exception):
    """The key that sealed a secret is not configured, or the secret was altered."""


def _keyring() -> Mapping[str, bytes]:
    keys: Mapping[str, bytes] = settings.ENCRYPTION_KEYS
    return keys


@lru_cache(maxsize=32)
def _cipher(key: bytes, purpose: str) -> AESGCM:
    if not purpose:
        return AESGCM(key)
    derived = HKDF(SHA256(), length=KEY_BYTES, salt=None, info=f"tollgate {purpose}".encode())
    return AESGCM(derived.derive(key))


def seal(plaintext: bytes, *, purpose: str = "") -> tuple[bytes, str]:
    """
    Encrypt under the current key; return the ciphertext and the key's id.

    Without a purpose it is a secret at rest.
    """
    key_id, key = next(iter(_keyring().items()))
    nonce = os.urandom(NONCE_BYTES)
    return nonce + _cipher(key, purpose).encrypt(nonce, plaintext, key_id.encode()), key_id


def unseal(ciphertext: bytes, key_id: str, *, purpose: str = "") -> bytes:
    """
    Decrypt what ``seal`` made for the same purpose.

    :raises UnreadableSecret: unknown key id, another purpose, or altered ciphertext
    """
    key = _keyring().get(key_id)
    if key is None:
        raise UnreadableSecret(f"ENCRYPTION_KEY has no key with id {key_id!r}.")
    nonce, sealed = bytes(ciphertext[:NONCE_BYTES]), bytes(ciphertext[NONCE_BYTES:])
    try:
        return _cipher(key, purpose).decrypt(nonce, sealed, key_id.encode())
    except InvalidTag:
        raise UnreadableSecret(f"A secret sealed with key {key_id!r} was altered.") from None


def seal_text(text: str) -> str:
    """Encrypt a text into a text that names its key, for where there is one column."""
    sealed, key_id = seal(text.encode())
    return f"{key_id}:{base64.b64encode(sealed).decode()}"


def unseal_text(text: str) -> str:
    """
    Decrypt what ``seal_text`` made; a text that names no key was never sealed.

    :raises UnreadableSecret: unknown key id, or altered ciphertext
    """
    key_id, colon, sealed = text.rpartition(":")
    if not colon:
        return text
    try:
        return unseal(base64.b64decode(sealed, validate=True), key_id).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise UnreadableSecret(f"A secret sealed with key {key_id!r} was altered.") from None


def is_current(text: str) -> bool:
    """Tell whether a text is sealed under the current key."""
    return text.startswith(f"{next(iter(_keyring()))}:")
