"""Versions of what can be changed: whoever changes an older one than there is learns of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from accounts.errors import Conflict


def of(facts: Mapping[str, Any]) -> str:
    """The version of a thing that counts none itself: a digest of what can be changed."""
    plain = {name: _plain(value) for name, value in facts.items()}
    encoded = msgspec.json.encode(plain, order="sorted")
    return hashlib.blake2b(encoded, digest_size=9).hexdigest()


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def require(*, wanted: str | None, current: str) -> None:
    """Prove, with the row locked, that a change is made to what its maker has seen.

    :raises Conflict: it was changed since
    """
    if wanted is not None and wanted != current:
        raise Conflict
