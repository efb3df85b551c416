"""
What is for sale, as one immutable snapshot that a gateway keeps in memory.

A gateway compares ``version()`` with its snapshot's and loads again when they differ, or
when ``next_change_at`` has come: a price version may have been made ahead of its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import structlog
from django.db import connection
from msgspec import Struct

from billing import prices
from billing.models import Price
from billing.prices import Version
from billing.pricing import Rates
from common.crypto import UnreadableSecret
from proxy import models
from proxy.models import route_subject

log = structlog.get_logger(__name__)

VERSION = "select version from proxy_catalogueversion where id = 1"
FREE = Rates()
SAMPLE_TOKENS = 1000


class Provider(Struct, frozen=True, kw_only=True):
    """A provider with its API key in clear; never logged, never serialised."""

    id: int
    slug: str
    kind: str
    base_url: str
    api_key: str
    on_disconnect: str
    generation_lookup: str
    rpm: int | None
    concurrency: int | None

    def __repr__(self) -> str:
        return f"Provider({self.slug})"


class Route(Struct, frozen=True, kw_only=True):
    """A model's way through one provider, with what it costs the customer and us."""

    id: int
    provider: Provider
    upstream_model: str
    priority: int
    max_stop: int | None
    max_searches: int | None = None
    price_id: int
    rates: Rates
    cost_price_id: int | None
    cost_rates: Rates


class Model(Struct, frozen=True, kw_only=True):
    """A model with its routes, cheapest first."""

    id: int
    slug: str
    aliases: tuple[str, ...]
    name: str
    owned_by: str
    kind: str
    context_length: int | None
    max_output_tokens: int | None
    max_image_tokens: int
    prompt_overhead_tokens: int
    capabilities: frozenset[str]
    unsupported: frozenset[str]
    output_limit: str
    created: int
    price_id: int
    rates: Rates
    routes: tuple[Route, ...]


class Catalogue(Struct, frozen=True, kw_only=True):
    """Everything that can be sold now, by slug and by every name."""

    version: int
    models: Mapping[str, Model]
    names: Mapping[str, Model]
    providers: Mapping[str, Provider]
    next_change_at: datetime | None

    def find(self, name: str) -> Model | None:
        """Return the model of a slug or an alias."""
        return self.names.get(name)


Prices = Mapping[tuple[str, str], Version]


def version() -> int:
    """Return the number that every change of the catalogue raises."""
    with connection.cursor() as cursor:
        cursor.execute(VERSION)
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def load() -> Catalogue:
    """Read the whole catalogue as it is in force now, by the database's clock."""
    # The version is read first: a change that commits meanwhile makes the snapshot look old.
    seen = version()
    now = database_now()
    providers = _providers()
    sold = _models(prices.all_rates_at(now=now), providers)
    names = {alias: model for model in sold for alias in model.aliases}
    by_slug = {model.slug: model for model in sold}
    return Catalogue(
        version=seen,
        models=by_slug,
        names=names | by_slug,
        providers={provider.slug: provider for provider in providers.values()},
        next_change_at=prices.next_change(after=now),
    )


def database_now() -> datetime:
    """Return the database's time: prices begin by one clock, not by each machine's."""
    with connection.cursor() as cursor:
        cursor.execute("select billing_now()")
        now: datetime = cursor.fetchone()[0]
    return now


def _providers() -> dict[int, Provider]:
    readable = {}
    for row in models.Provider.objects.filter(enabled=True):
        try:
            readable[row.pk] = provider_of(row)
        except UnreadableSecret as error:
            log.error("A provider's API key cannot be read", provider=row.slug, error=str(error))
    return readable


def provider_of(row: models.Provider) -> Provider:
    """
    Read a provider's row.

    :raises common.crypto.UnreadableSecret: its API key cannot be read
    """
    return Provider(
        id=row.pk,
        slug=row.slug,
        kind=row.kind,
        base_url=row.base_url.rstrip("/"),
        api_key=row.api_key(),
        on_disconnect=row.on_disconnect,
        generation_lookup=row.generation_lookup,
        rpm=row.rpm,
        concurrency=row.concurrency,
    )


def _models(in_force: Prices, providers: Mapping[int, Provider]) -> list[Model]:
    rows = models.Model.objects.filter(enabled=True).prefetch_related("aliases", "routes")
    sold = (_model(row, in_force, providers) for row in rows)
    return [model for model in sold if model is not None]


def _model(row: models.Model, in_force: Prices, providers: Mapping[int, Provider]) -> Model | None:
    retail = in_force.get((row.slug, Price.Role.RETAIL))
    # A model without a price is not sold.
    if retail is None:
        return None
    return Model(
        id=row.pk,
        slug=row.slug,
        aliases=tuple(alias.alias for alias in row.aliases.all()),
        name=row.name,
        owned_by=row.owned_by,
        kind=row.kind,
        context_length=row.context_length,
        max_output_tokens=row.max_output_tokens,
        max_image_tokens=row.max_image_tokens,
        prompt_overhead_tokens=row.prompt_overhead_tokens,
        capabilities=frozenset(row.capabilities),
        unsupported=frozenset(row.unsupported),
        output_limit=row.output_limit,
        created=int(row.created_at.timestamp()),
        price_id=retail.id,
        rates=retail.rates,
        routes=_routes(row, retail, in_force, providers),
    )


def _routes(
    model: models.Model, retail: Version, in_force: Prices, providers: Mapping[int, Provider]
) -> tuple[Route, ...]:
    routes = []
    for row in model.routes.all():
        provider = providers.get(row.provider_id)
        if provider is None or not row.enabled:
            continue
        subject = route_subject(
            model=model.slug, provider=provider.slug, upstream_model=row.upstream_model
        )
        price = in_force.get((subject, Price.Role.RETAIL)) if row.own_price else retail
        if price is not None:
            routes.append(_route(row, provider, price, in_force.get((subject, Price.Role.COST))))
    return tuple(sorted(routes, key=_order))


def _route(row: models.Route, provider: Provider, price: Version, cost: Version | None) -> Route:
    return Route(
        id=row.pk,
        provider=provider,
        upstream_model=row.upstream_model,
        priority=row.priority,
        max_stop=row.max_stop,
        max_searches=row.max_searches,
        price_id=price.id,
        rates=price.rates,
        cost_price_id=cost.id if cost else None,
        cost_rates=cost.rates if cost else FREE,
    )


def _order(route: Route) -> tuple[int, int, int, int]:
    return sample(route.rates), sample(route.cost_rates), route.priority, route.id


def sample(rates: Rates) -> int:
    """Return what an ordinary call costs, to compare two prices by one number."""
    return (rates.prompt + rates.completion) * SAMPLE_TOKENS + (rates.per_call or 0)
