"""
Where a call may have gone: the legs that were written down with its hold.

A call of an older gateway carries none; it may have gone to any route of its model.
"""

from __future__ import annotations

from msgspec import Struct

from common.crypto import UnreadableSecret
from proxy import catalogue, models
from proxy.catalogue import Provider
from proxy.due import Call


class Candidate(Struct, frozen=True):
    """A route that a call may have taken; its price and searches at admission, where known."""

    route: models.Route
    provider: Provider
    price_id: int | None
    searches: int = 0

    @property
    def slug(self) -> str:
        """Return the provider's slug."""
        return self.provider.slug


class Candidates:
    """All routes as they are at one sweep, also those since switched off."""

    def __init__(self) -> None:
        providers = {row.pk: _provider(row) for row in models.Provider.objects.all()}
        self._providers = providers
        self._routes: dict[int, models.Route] = {}
        self._by_model: dict[str, list[Candidate]] = {}
        rows = models.Route.objects.select_related("model", "provider")
        for route in rows.order_by("priority", "id"):
            self._routes[route.pk] = route
            candidate = Candidate(route, providers[route.provider_id], None)
            self._by_model.setdefault(route.model.slug, []).append(candidate)

    def of(self, call: Call) -> list[Candidate]:
        """Return the routes that a call may have taken and that still exist."""
        if not call.legs:
            return self._by_model.get(call.model, [])
        return [
            Candidate(route, self._providers[route.provider_id], leg.price_id, leg.searches)
            for leg in call.legs
            if (route := self._routes.get(leg.route_id)) is not None
        ]

    def providers(self, call: Call) -> list[Provider]:
        """Return the providers that may know a call, each once."""
        return list({each.slug: each.provider for each in self.of(call)}.values())

    def all_known(self, call: Call) -> bool:
        """Tell whether no route that a call may have taken was removed since."""
        return len(self.of(call)) >= max(1, len(call.legs))


def _provider(row: models.Provider) -> Provider:
    try:
        return catalogue.provider_of(row)
    except UnreadableSecret:
        # It will refuse us, which proves nothing: the same as any other trouble.
        row.set_api_key("")
        return catalogue.provider_of(row)
