"""
What every provider adapter offers, and the one error tree of this room.

    UpstreamTrouble
    ├── fallback=True   another route may answer
    └── fallback=False  the caller's own fault, or nobody can

An adapter is a module: it turns a ``Call`` into the provider's HTTP request, and what the
provider answers into OpenAI's chat completion, image list or embedding list.
"""

from __future__ import annotations

from typing import Any, Protocol

import httpx
from msgspec import Struct

from proxy.wire.answers import Completion, Usage
from proxy.wire.call import BadRequest, Call


class UpstreamTrouble(Exception):
    """
    A call that a provider did not answer.

    ``outcome`` goes on the attempt row; ``reason`` and ``message`` are ours, never the
    provider's own text. ``ambiguous``: the provider may have done the work all the same.
    ``limited``: it was not even called, because it is at a limit that we keep for it.
    """

    def __init__(
        self,
        outcome: str,
        *,
        reason: str,
        message: str,
        fallback: bool,
        status: int | None = None,
        ambiguous: bool = False,
        limited: bool = False,
    ) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.reason = reason
        self.message = message
        self.fallback = fallback
        self.status = status
        self.ambiguous = ambiguous
        self.limited = limited


class Target(Struct, frozen=True):
    """Where one attempt goes; ``output_limit`` is the one to send, None for the caller's own."""

    base_url: str
    api_key: str
    upstream_model: str
    limit_name: str
    kind: str
    request_id: str
    output_limit: int | None = None
    max_output_tokens: int | None = None
    drop: frozenset[str] = frozenset()
    max_searches: int = 0


class ChunkReader(Protocol):
    """
    Reads one provider's stream, event by event, as OpenAI's chunks.

    It keeps count: ``usage`` where the provider told it, ``prompt`` where it told of the prompt
    before it counted the answer (its output says nothing), ``size_bytes`` of text told so far,
    ``finished`` once there was a finish reason, ``done`` once nothing more will come,
    ``error`` where the provider sent one, ``contradicted`` where what it told of the usage
    cannot be true.
    """

    usage: Usage | None
    prompt: Usage | None
    size_bytes: int
    finished: bool
    done: bool
    upstream_id: str
    error: dict[str, Any] | None

    @property
    def contradicted(self) -> bool:
        """Tell whether the usage that was told contradicts itself."""
        ...

    def read(self, data: bytes) -> list[dict[str, Any]]:
        """
        Take one event's data; return the chunks it makes.

        :raises proxy.wire.answers.Garbage: it cannot be read
        """
        ...


class Upstream(Protocol):
    """A provider's wire format."""

    # Parameters of OpenAI's that this wire format has no words for.
    UNSUPPORTED: frozenset[str]
    # Which kinds of call it serves.
    KINDS: frozenset[str]
    # Whether it keeps web searches to the number that is asked for.
    BOUNDS_SEARCHES: bool

    def misfit(self, call: Call) -> BadRequest | None:
        """Return what of a call has no words here and must not be dropped in silence."""
        ...

    def request(self, *, target: Target, call: Call) -> httpx.Request:
        """Build the HTTP request of one attempt."""
        ...

    def completion(self, body: bytes) -> Completion:
        """
        Read a whole answer.

        :raises proxy.wire.answers.Garbage: it cannot be read
        """
        ...

    def reader(self, call: Call) -> ChunkReader:
        """Return a reader for one stream."""
        ...

    def refusal(self, status: int, body: bytes) -> UpstreamTrouble:
        """Judge an answer that is not a success; the provider's words stay here."""
        ...
