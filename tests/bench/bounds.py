"""What this gateway has to reach on the development machine, and whether the last run did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Kept = dict[str, Any]
OURS = "Tollgate"


@dataclass(frozen=True, slots=True)
class Bound:
    """One figure of one part; the least that is required, or the most that is allowed."""

    part: str
    name: str
    of: Callable[[Kept], float]
    least: float | None = None
    most: float | None = None
    unit: str = ""

    def row(self, figures: Kept) -> list[str]:
        """Return the figure beside its bound, and whether it is within."""
        value = self.of(figures)
        wanted = f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"
        within = (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )
        return [self.name, wanted + self.unit, f"{value:.4g}{self.unit}", "yes" if within else "NO"]


def _faster_than(peer: str) -> Callable[[Kept], float]:
    return lambda part: float(part[OURS]["busy"]["per_second"] / part[peer]["busy"]["per_second"])


def _slowest_page(part: Kept) -> float:
    return max(float(each["queries_ms"]) for each in part["pages"])


TIMES = " \N{MULTIPLICATION SIGN}"
BOUNDS = (
    Bound("peers", "requests/s of LiteLLM's", _faster_than("LiteLLM"), least=15, unit=TIMES),
    Bound(
        "peers",
        "LiteLLM's CPU per stream of ours",
        lambda part: part["LiteLLM"]["streams"]["cpu_ms"] / part[OURS]["streams"]["cpu_ms"],
        least=20,
        unit=TIMES,
    ),
    Bound("peers", "requests/s of Portkey's", _faster_than("Portkey"), least=1.5, unit=TIMES),
    Bound("peers", "added p50", lambda part: part[OURS]["added_p50_ms"], most=3, unit=" ms"),
    Bound("peers", "added p99", lambda part: part[OURS]["added_p99_ms"], most=15, unit=" ms"),
    Bound(
        "large",
        "requests/s on the large database, of those on the empty one",
        lambda part: part["large"]["busy"]["per_second"] / part["empty"]["busy"]["per_second"],
        least=0.9,
    ),
    Bound("large", "queries of the slowest page", _slowest_page, most=200, unit=" ms"),
    Bound("large", "hourly invariants", lambda part: part["verify_s"], most=60, unit=" s"),
    Bound("idle", "memory with idle streams", lambda part: part["memory_mb"], most=250, unit=" MB"),
    Bound(
        "idle",
        "more connections to PostgreSQL with idle streams",
        lambda part: part["connections"] - part["connections_before"],
        most=2,
    ),
)


def rows(kept: Kept) -> list[list[str]]:
    """Return every bound of the parts that were measured."""
    return [bound.row(kept[bound.part]) for bound in BOUNDS if bound.part in kept]
