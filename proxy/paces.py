"""
How fast routes answer, as this process measured it: rolling averages of its own calls.

A figure is an exponentially weighted mean. One that is older than ten minutes is forgotten, so a
route that nobody used lately is measured again.
"""

from __future__ import annotations

import time

from msgspec import Struct

from proxy.catalogue import Route

# What the newest call counts for.
WEIGHT = 0.2
KEPT_S = 600.0
# A shorter answer says more about the first byte than about the flow.
LEAST_TOKENS = 8


class Pace(Struct):
    """One route's averages; None where no call told."""

    at: float
    first_byte_ms: float | None = None
    tokens_per_s: float | None = None


class Paces:
    """What one process measured of all routes."""

    def __init__(self) -> None:
        self.by_route: dict[int, Pace] = {}

    def note(
        self, route: Route, *, latency_ms: int, output_tokens: int, first_byte_ms: int | None
    ) -> None:
        """Take one whole answer in; ``first_byte_ms`` only where it was streamed."""
        pace = self._fresh(route) or Pace(at=0.0)
        pace.at = time.monotonic()
        if first_byte_ms is not None:
            pace.first_byte_ms = _mean(pace.first_byte_ms, float(first_byte_ms))
        if output_tokens >= LEAST_TOKENS:
            flow = output_tokens * 1000 / max(1, latency_ms)
            pace.tokens_per_s = _mean(pace.tokens_per_s, flow)
        self.by_route[route.id] = pace

    def first_byte_ms(self, route: Route) -> float | None:
        """Return how long a stream's first byte takes."""
        pace = self._fresh(route)
        return pace.first_byte_ms if pace else None

    def tokens_per_s(self, route: Route) -> float | None:
        """Return how many tokens come in a second, from the question to the end."""
        pace = self._fresh(route)
        return pace.tokens_per_s if pace else None

    def _fresh(self, route: Route) -> Pace | None:
        pace = self.by_route.get(route.id)
        return pace if pace is not None and time.monotonic() - pace.at < KEPT_S else None


def _mean(before: float | None, new: float) -> float:
    return new if before is None else before + WEIGHT * (new - before)
