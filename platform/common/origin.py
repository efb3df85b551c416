"""
Where the present change comes from: the request's id, the caller's address, and who of the staff
acts in somebody's place.

It travels beside the call, like the request id of the logs, because every change writes it
down (the audit log) and none decides by it. Outside a request there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """One request."""

    request_id: str = ""
    address: str = ""
    impersonator_id: int | None = None


NOWHERE = Origin()
_current: ContextVar[Origin] = ContextVar("origin", default=NOWHERE)


def current() -> Origin:
    """Return the request that is being answered, or nothing."""
    return _current.get()


def begin(origin: Origin) -> Token[Origin]:
    """Set the origin of what follows in this context; ``end`` takes the token."""
    return _current.set(origin)


def end(token: Token[Origin]) -> None:
    """Forget the origin again."""
    _current.reset(token)


@contextmanager
def during(origin: Origin) -> Iterator[None]:
    """Set the origin of a block."""
    token = begin(origin)
    try:
        yield
    finally:
        end(token)


def address_of(*, peer: str, forwarded: str, trusted: int) -> str:
    """
    Return a caller's IP address as seen through a number of trusted proxies.

    Each proxy appends the address it was called from; whatever stands further left was
    written by the caller.
    """
    if not trusted:
        return peer
    hops = forwarded.split(",")
    return hops[-trusted].strip() if len(hops) >= trusted and hops[-1].strip() else peer
