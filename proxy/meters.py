"""
What a gateway counts: requests, tokens, money, times, batches.

Labels have few values: surfaces, status codes, providers. No workspace, no key, no model that
a caller names.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar

from prometheus_client.metrics import MetricWrapperBase

from common import metrics

if TYPE_CHECKING:
    from proxy.breakers import Breakers
    from proxy.guard import Incoming
    from proxy.till import Bill, Settled

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
OVERHEAD = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
# Why words of a call were not kept: no room, an error, the end of the process.
DROPS = ("full", "failed", "stopped")


M = TypeVar("M", bound=MetricWrapperBase)


class Children(Generic[M]):
    """A metric by its labels, looked up faster than prometheus-client does."""

    def __init__(self, metric: M) -> None:
        self.metric = metric
        self.known: dict[tuple[str, ...], M] = {}

    def of(self, *labels: str) -> M:
        """Return what counts for these labels."""
        child = self.known.get(labels)
        if child is None:
            child = self.known[labels] = self.metric.labels(*labels)
        return child


class Meters:
    """All that gateways and the makers of generations count."""

    def __init__(self) -> None:
        self._count_answers()
        self._count_closings()
        self._count_batches()
        self._count_prompts()
        self._count_connections()
        self._known_routes: set[str] = set()

    def _count_answers(self) -> None:
        self.requests = Children(
            metrics.counter(
                "requests", "Answers given, by endpoint and status; gone: nobody waited", _BY_ANSWER
            )
        )
        self.overhead = metrics.histogram(
            "overhead_seconds", "What the gateway adds to its providers' time", buckets=OVERHEAD
        )

    def _count_closings(self) -> None:
        self.closings = Children(
            metrics.counter(
                "closings", "Holds closed by this gateway", ("surface", "state", "source")
            )
        )
        self.tokens = Children(
            metrics.counter("tokens", "Tokens of settled calls", ("provider", "kind"))
        )
        self.money = Children(
            metrics.counter(
                "money_nanos",
                "Nano-dollars of settled calls: charged, uncollected, cost",
                ("kind",),
            )
        )
        self.first_byte = Children(
            metrics.histogram(
                "first_byte_seconds",
                "Time to a stream's first byte",
                ("provider",),
                buckets=SECONDS,
            )
        )
        self.latency = Children(
            metrics.histogram(
                "call_seconds", "Time from headers to settlement", ("provider",), buckets=SECONDS
            )
        )

    def _count_batches(self) -> None:
        self.batches = metrics.histogram(
            "batch_items", "Items per round trip to the ledger", ("desk",), buckets=SIZES
        )
        self.admissions = self.batches.labels("admission")
        self.settlements = self.batches.labels("settlement")
        self.refused = metrics.counter(
            "settlements_refused", "Settlements that the ledger would not book"
        )
        self.corrected = metrics.counter(
            "settlements_corrected", "Guesses of a sweep that gave way to a settlement"
        )
        self.spooled = metrics.counter("settlements_spooled", "Settlements written to the disk")

    def _count_prompts(self) -> None:
        self.prompts_kept = metrics.counter(
            "prompts_kept", "Calls whose words were kept, as their workspaces chose"
        )
        self.prompts_dropped = Children(
            metrics.counter(
                "prompts_dropped",
                "Calls whose words should have been kept and were not",
                ("cause",),
            )
        )
        # There from the start: what begins above 0 never increased, and no alert sees it.
        for cause in DROPS:
            self.prompts_dropped.of(cause)

    def _count_connections(self) -> None:
        self.streams = metrics.gauge("streams", "Streams under way")
        self.connections = metrics.gauge("connections", "Connections of clients that are open")
        self.connections_refused = metrics.counter(
            "connections_refused", "Connections above CLIENT_CONNECTIONS, sent away"
        )
        self.resting = metrics.gauge(
            "route_resting", "1 while a route's breaker is open", ("route",), largest=True
        )

    def answered(self, incoming: Incoming, *, surface: str) -> None:
        """Count one request by what was answered."""
        status = str(incoming.status) if incoming.status else "gone"
        self.requests.of(surface, status).inc()
        overhead = incoming.told.get("x-tollgate-overhead-ms")
        if overhead is not None:
            self.overhead.observe(int(overhead) / 1000)

    def settled(self, bill: Bill, settled: Settled) -> None:
        """Count one closing that the ledger booked for the first time."""
        if settled.v not in ("ok", "late"):
            return
        self.closings.of(bill.surface, bill.state, bill.source).inc()
        if bill.state != "settled":
            return
        self._tokens(bill)
        self._money(bill, settled)
        if bill.stream and bill.first_byte_ms is not None:
            self.first_byte.of(bill.provider).observe(bill.first_byte_ms / 1000)
        if bill.latency_ms is not None:
            self.latency.of(bill.provider).observe(bill.latency_ms / 1000)

    def _tokens(self, bill: Bill) -> None:
        read = bill.input_tokens + bill.cached_tokens + bill.cache_write_tokens
        if read:
            self.tokens.of(bill.provider, "input").inc(read)
        if bill.output_tokens:
            self.tokens.of(bill.provider, "output").inc(bill.output_tokens)

    def _money(self, bill: Bill, settled: Settled) -> None:
        charged, uncollected = settled.charged or 0, settled.uncollected or 0
        # Verdicts are in units of the account's asset; a figure has one unit.
        lost = bill.cost * uncollected // (charged + uncollected) if uncollected else 0
        self.money.of("charged").inc(bill.cost - lost)
        if lost:
            self.money.of("uncollected").inc(lost)
        if bill.upstream_cost:
            self.money.of("cost").inc(bill.upstream_cost)

    def rest(self, breakers: Breakers) -> None:
        """Say which routes rest, and no more of those that work again."""
        resting = {name for name, breaker in breakers.by_name.items() if breaker.opened}
        self._known_routes |= resting
        for name in self._known_routes:
            self.resting.labels(name).set(name in resting)


_BY_ANSWER = ("surface", "status")


@cache
def meters() -> Meters:
    """Return this process's meters; nothing is written before the first is asked for."""
    return Meters()
