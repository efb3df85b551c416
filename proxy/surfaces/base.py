"""What a surface is: how one family of clients asks, and how it wants to be answered."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

from proxy.exchange import Exchange
from proxy.routing import Leg
from proxy.till import Settled
from proxy.wire.answers import Completion, Usage
from proxy.wire.call import Call


class Outcome(Struct, frozen=True):
    """A call that was served and settled; ``cost`` is the exact price in USD, as text."""

    leg: Leg
    usage: Usage
    cost: str
    settled: Settled | None


class Rendering(Protocol):
    """One stream as the caller sees it: whole events, as bytes, nothing where there is none."""

    def chunk(self, chunk: dict[str, Any], leg: Leg) -> bytes:
        """Return the events of one chunk of the answer."""
        ...

    async def end(self, outcome: Outcome) -> bytes:
        """Return the last events of a whole stream."""
        ...

    async def broken(self, error: dict[str, Any]) -> bytes:
        """Return the events that tell a caller that the stream broke off."""
        ...


class Surface(Protocol):
    """One endpoint."""

    name: str
    scope: str
    asset: str
    limit_bytes: int

    def parse(self, body: bytes) -> Call:
        """
        Read and check a body.

        :raises proxy.wire.call.BadRequest: refused
        """
        ...

    async def whole(self, exchange: Exchange, completion: Completion, outcome: Outcome) -> bytes:
        """
        Return the body of an answer that is not streamed; it is not settled yet.

        One that tells of its settlement is made by ``exchange.after_charge``.
        """
        ...

    def rendering(self, exchange: Exchange) -> Rendering:
        """Return what writes one stream."""
        ...
