"""
Signatures of outgoing webhooks, as https://www.standardwebhooks.com lays down.

A secret is ``whsec_`` and base64; what is signed is the id, the time and the body, with dots in
between, by HMAC-SHA256. While a secret is replaced there are two signatures, apart by a space.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32


def new_secret() -> str:
    """A secret as its owner sees it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def headers(
    *, event_id: str, body: bytes, sent_at_s: int, secrets: Sequence[str]
) -> dict[str, str]:
    """The three headers of a delivery, signed with each secret."""
    signed = f"{event_id}.{sent_at_s}.".encode() + body
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(sent_at_s),
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
