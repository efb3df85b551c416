"""
Bringing the database in line with a catalogue file, in one transaction.

What the file names is added or updated; what it does not name is left alone, or with
``prune`` switched off. Rows are never deleted except aliases: attempts and usage refer to
them. Prices are versions: a different price is a new version, never a changed one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from django.db import connection, transaction
from django.db import models as django_models
from msgspec import Struct

from accounts import audit
from billing import prices
from billing.models import Price
from billing.prices import PriceTaken
from common.crypto import UnreadableSecret
from proxy.catalogue import database_now
from proxy.catalogue_file import (
    CatalogueError,
    CatalogueFile,
    ModelEntry,
    PriceEntry,
    ProviderEntry,
    RouteEntry,
    effective_from,
    rates_of,
)
from proxy.models import Model, ModelAlias, Provider, Route, route_subject

Row = TypeVar("Row", bound=django_models.Model)


class Change(Struct, frozen=True):
    """One thing that was, or would be, done."""

    action: str
    what: str
    name: str
    fields: dict[str, Any] = {}


class Report(Struct, frozen=True):
    """What a file changes."""

    dry_run: bool
    changes: list[Change]


def apply(
    *,
    file: CatalogueFile,
    prune: bool = False,
    dry_run: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Report:
    """
    Bring the catalogue in line with a file; a dry run does the same and takes it all back.

    :raises CatalogueError: the file contradicts the database; nothing is changed then
    """
    with transaction.atomic():
        # One loader at a time; gateways that only read the version are not held up.
        with connection.cursor() as cursor:
            cursor.execute("select from proxy_catalogueversion where id = 1 for no key update")
        load = _Load(os.environ if environment is None else environment)
        load.take(file)
        if prune:
            load.prune(file)
        for change in load.changes:
            _record(change)
        transaction.set_rollback(dry_run)
    return Report(dry_run, load.changes)


def _record(change: Change) -> None:
    audit.record(
        action=f"catalogue.{change.what}.{change.action}".replace(" ", "_"),
        by=None,
        target=audit.Target(change.name[:64], change.name),
        workspaces=[None],
        after=change.fields,
    )


class _Load:
    """One run: the rows as they are, and what has been changed so far."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.changes: list[Change] = []
        self._environment = environment
        self._providers = {row.slug: row for row in Provider.objects.all()}
        self._models = {row.slug: row for row in Model.objects.all()}
        self._aliases = {row.alias: row for row in ModelAlias.objects.select_related("model")}
        self._routes = {row.subject: row for row in _all_routes()}
        self._now = database_now()

    def take(self, file: CatalogueFile) -> None:
        """Add and update what the file names."""
        named = {model.slug for model in file.models}
        for provider in file.providers:
            self._take_provider(provider)
        for model in file.models:
            self._refuse_taken_names(model, named)
            self._take_model(model)

    def prune(self, file: CatalogueFile) -> None:
        """Switch off what the file does not name."""
        models = {model.slug for model in file.models}
        aliases = {alias for model in file.models for alias in model.aliases}
        routes = {_subject(model, route) for model in file.models for route in model.routes}
        self._disable("provider", self._providers, {p.slug for p in file.providers})
        self._disable("model", self._models, models)
        self._disable("route", self._routes, routes)
        for name, alias in self._aliases.items():
            if name not in aliases:
                alias.delete()
                self.changes.append(Change("remove", "alias", name))

    def _disable(
        self, what: str, rows: Mapping[str, Provider | Model | Route], named: Iterable[str]
    ) -> None:
        for name in sorted(set(rows) - set(named)):
            row = rows[name]
            if row.enabled:
                row.enabled = False
                row.save()
                self.changes.append(Change("disable", what, name))

    def _take_provider(self, entry: ProviderEntry) -> None:
        row = self._providers.get(entry.slug) or Provider(slug=entry.slug)
        fields = msgspec.structs.asdict(entry)
        for name in ("slug", "api_key", "api_key_env", "cost_report_key_env"):
            del fields[name]
        fields["base_url"] = entry.base_url.rstrip("/")
        changed = _assign(row, fields)
        api_key = self._api_key(entry)
        if api_key is not None and api_key != _present(row.api_key):
            row.set_api_key(api_key)
            changed["api_key"] = "(changed)"
        report_key = self._variable(entry, entry.cost_report_key_env)
        if report_key is not None and report_key != _present(row.cost_report_key):
            row.set_cost_report_key(report_key)
            changed["cost_report_key"] = "(changed)"
        self._save(row, "provider", entry.slug, changed)
        self._providers[entry.slug] = row

    def _api_key(self, entry: ProviderEntry) -> str | None:
        """Return the key that the file gives; None leaves the stored one alone."""
        if entry.api_key_env is None:
            return entry.api_key
        return self._variable(entry, entry.api_key_env)

    def _variable(self, entry: ProviderEntry, name: str | None) -> str | None:
        """Return what an environment variable holds; None where the file names none."""
        if name is None:
            return None
        secret = self._environment.get(name)
        if not secret:
            raise CatalogueError(
                f"provider {entry.slug}: the environment variable {name} is not set"
            )
        return secret

    def _refuse_taken_names(self, entry: ModelEntry, named: Iterable[str]) -> None:
        place = f"model {entry.slug}"
        alias = self._aliases.get(entry.slug)
        if alias is not None:
            raise CatalogueError(f"{place}: this name is an alias of {alias.model.slug}")
        for name in entry.aliases:
            if name in self._models:
                raise CatalogueError(f"{place}: the alias {name!r} is a model's slug")
            owner = self._aliases[name].model.slug if name in self._aliases else entry.slug
            # A model that the file names too has given it up there; any other has not.
            if owner != entry.slug and owner not in named:
                raise CatalogueError(f"{place}: the alias {name!r} belongs to {owner}")

    def _take_model(self, entry: ModelEntry) -> None:
        row = self._models.get(entry.slug) or Model(slug=entry.slug)
        changed = _assign(row, _model_fields(entry))
        self._save(row, "model", entry.slug, changed)
        self._models[entry.slug] = row
        for name in entry.aliases:
            self._take_alias(name, row)
        start = effective_from(entry)
        self._take_price(entry.slug, Price.Role.RETAIL, entry.price, start)
        for route in entry.routes:
            self._take_route(entry, row, route, start)

    def _take_alias(self, name: str, model: Model) -> None:
        row = self._aliases.get(name)
        if row is None or row.model_id != model.pk:
            row = ModelAlias(alias=name, model=model)
            row.save()
            self._aliases[name] = row
            self.changes.append(Change("set", "alias", name, {"model": model.slug}))

    def _take_route(
        self, entry: ModelEntry, model: Model, route: RouteEntry, start: datetime | None
    ) -> None:
        provider = self._providers.get(route.provider)
        if provider is None:
            raise CatalogueError(f"model {entry.slug}: there is no provider {route.provider!r}")
        subject = _subject(entry, route)
        row = self._routes.get(subject) or Route(
            model=model, provider=provider, upstream_model=route.upstream_model
        )
        fields = {
            "priority": route.priority,
            "max_stop": route.max_stop,
            "max_searches": route.max_searches,
            "enabled": route.enabled,
            "own_price": route.price is not None,
        }
        self._save(row, "route", subject, _assign(row, fields))
        self._routes[subject] = row
        self._take_price(subject, Price.Role.COST, route.cost, start)
        self._take_price(subject, Price.Role.RETAIL, route.price, start)

    def _take_price(
        self, subject: str, role: str, entry: PriceEntry | None, start: datetime | None
    ) -> None:
        if entry is None:
            return
        rates = rates_of(entry, place=f"{subject}: {role} price")
        try:
            added = prices.set_price(
                subject=subject, role=role, rates=rates, now=self._now, effective_from=start
            )
        except PriceTaken as error:
            raise CatalogueError(
                f"{error} Prices never change; choose a later effective_from."
            ) from None
        if added is not None:
            shown = {
                name: number
                for name, number in msgspec.structs.asdict(rates).items()
                if number is not None
            }
            fields = {"effective_from": added.effective_from, **shown}
            self.changes.append(Change("add", f"{role} price", subject, fields))

    def _save(
        self, row: Provider | Model | Route, what: str, name: str, changed: dict[str, Any]
    ) -> None:
        if row.pk is None or changed:
            action = "add" if row.pk is None else "update"
            row.save()
            self.changes.append(Change(action, what, name, changed))


def _all_routes() -> django_models.QuerySet[Route]:
    return Route.objects.select_related("model", "provider")


def _subject(model: ModelEntry, route: RouteEntry) -> str:
    return route_subject(
        model=model.slug, provider=route.provider, upstream_model=route.upstream_model
    )


def _model_fields(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name or entry.slug,
        "owned_by": entry.owned_by or entry.slug.partition("/")[0],
        "kind": entry.kind,
        "context_length": entry.context_length,
        "max_output_tokens": entry.max_output_tokens,
        "max_image_tokens": entry.max_image_tokens,
        "prompt_overhead_tokens": entry.prompt_overhead_tokens,
        "capabilities": sorted(set(entry.capabilities)),
        "unsupported": sorted(set(entry.parameters.unsupported)),
        "output_limit": entry.parameters.output_limit,
        "enabled": entry.enabled,
    }


def _assign(row: Row, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Set a row's fields; return those that were different."""
    changed = {name: new for name, new in fields.items() if getattr(row, name) != new}
    for name, new in changed.items():
        setattr(row, name, new)
    return changed


def _present(secret: Callable[[], str]) -> str | None:
    try:
        return secret()
    except UnreadableSecret:
        return None
