"""
What every provider adapter offers, and the one error tree of this room.

    UpstreamTrouble
    ├── fallback=True   another route may answer
    └── fallback=False  the caller's own fault, or nobody can
"""

from __future__ import annotations

from msgspec import Struct


class UpstreamTrouble(Exception):
    """
    A call that a provider did not answer.

    ``outcome`` goes on the attempt row; ``reason`` and ``message`` are ours, never the
    provider's own text.
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
    ) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.reason = reason
        self.message = message
        self.fallback = fallback
        self.status = status
        self.ambiguous = ambiguous


class Target(Struct, frozen=True):
    """Where one attempt goes."""

    base_url: str
    api_key: str
    upstream_model: str
    limit_name: str
    kind: str
    drop: frozenset[str] = frozenset()
