"""
What a call passes on its way to a provider: the provider's own limits, and the breaker.

A provider at its limit is not called at all: the next route is.
"""

from __future__ import annotations

from types import TracebackType
from uuid import UUID

from proxy.breakers import Breakers
from proxy.catalogue import Provider, Route
from proxy.quotas import LEASE_US, NO_SLOTS, OK, Demand, Quota, Quotas
from proxy.upstreams import trouble


class Gates:
    """The gates of all providers."""

    def __init__(self, quotas: Quotas, breakers: Breakers) -> None:
        self.quotas = quotas
        self.breakers = breakers

    def to(self, route: Route, *, request_id: UUID, attempt: int) -> Passage:
        """Return one attempt's way to a provider: ``async with gates.to(…):``."""
        return Passage(self, route, f"{request_id}/{attempt}")


class Passage:
    """One attempt inside a provider's limits, from before the call until its answer's end."""

    def __init__(self, gates: Gates, route: Route, lease: str) -> None:
        self.gates = gates
        self.route = route
        self.lease = lease
        self.leased = False

    async def __aenter__(self) -> None:
        """
        Take a place at the provider.

        :raises UpstreamTrouble: it has none
        """
        quota = quota_of(self.route.provider)
        if quota.rpm is not None or quota.slots is not None:
            leased = quota.slots is not None
            level = await self.gates.quotas.ask(
                Demand(
                    quota=quota,
                    requests=1,
                    lease=self.lease if leased else "",
                    lease_us=LEASE_US if leased else 0,
                )
            )
            if level.verdict != OK:
                at = "concurrency" if level.verdict == NO_SLOTS else "rpm"
                raise trouble.busy(f"provider_{at}")
            self.leased = leased
        self.gates.breakers.begin(self.route)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the place."""
        if self.leased:
            quota = quota_of(self.route.provider)
            self.gates.quotas.note(Demand(quota=quota, check=False, lease=self.lease, lease_us=-1))


def quota_of(provider: Provider) -> Quota:
    """Return a provider's own limits, as the catalogue has them."""
    return Quota(owner=f"provider:{provider.id}", rpm=provider.rpm, slots=provider.concurrency)
