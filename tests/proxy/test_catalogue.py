from __future__ import annotations

from typing import Any

import pytest
import yaml
from pytest_django import Settings

from billing.models import Price
from proxy import catalogue, catalogue_changes, catalogue_file
from proxy.models import Model, ModelAlias, Provider, Route

pytestmark = pytest.mark.django_db

ROUTES = [
    {"provider": "dear", "upstream_model": "m", "cost": {"prompt": "3", "completion": "3"}},
    {"provider": "cheap", "upstream_model": "m", "cost": {"prompt": "1", "completion": "1"}},
    {"provider": "cheap", "upstream_model": "first", "priority": -1},
    {"provider": "dear", "upstream_model": "own", "price": {"prompt": "1", "completion": "1"}},
]


def load(**changes: Any) -> catalogue.Catalogue:
    models = [
        {
            "slug": "a/m",
            "aliases": ["m"],
            "kind": "chat",
            "context_length": 1000,
            "max_output_tokens": 100,
            "price": {"prompt": "5", "completion": "5"},
            "routes": ROUTES,
            **changes,
        }
    ]
    providers = [
        {"slug": slug, "kind": "openai", "base_url": f"https://{slug}.test/v1/", "api_key": slug}
        for slug in ("dear", "cheap")
    ]
    text = yaml.safe_dump({"providers": providers, "models": models})
    catalogue_changes.apply(file=catalogue_file.parse(text))
    return catalogue.load()


class TestLoad:
    def test_a_model_is_found_by_slug_and_alias(self) -> None:
        snapshot = load()
        model = snapshot.find("a/m")
        assert model is not None
        assert snapshot.find("m") is model
        assert model.aliases == ("m",)
        assert snapshot.find("A/M") is None
        assert list(snapshot.models) == ["a/m"]

    def test_routes_are_in_order_of_price_then_cost_then_priority(self) -> None:
        routes = load().models["a/m"].routes
        assert [(route.provider.slug, route.upstream_model) for route in routes] == [
            ("dear", "own"),
            ("cheap", "first"),
            ("cheap", "m"),
            ("dear", "m"),
        ]
        assert routes[1].cost_price_id is None
        assert routes[2].cost_rates.prompt == 1_000_000
        assert routes[2].price_id == Price.objects.get(subject="a/m", role="retail").pk

    def test_a_provider_comes_with_its_key_in_clear_but_does_not_show_it(self) -> None:
        provider = load().providers["cheap"]
        assert provider.api_key == "cheap"
        assert provider.base_url == "https://cheap.test/v1"
        assert "api_key" not in repr(provider)

    def test_what_is_switched_off_is_not_there(self) -> None:
        load()
        Provider.objects.filter(slug="dear").update(enabled=False)
        Route.objects.filter(upstream_model="first").update(enabled=False)
        (route,) = catalogue.load().models["a/m"].routes
        assert route.upstream_model == "m"
        Model.objects.update(enabled=False)
        assert catalogue.load().models == {}

    def test_a_model_without_a_price_is_not_sold(self) -> None:
        Model.objects.create(slug="free", name="free", owned_by="x", kind="embedding")
        assert catalogue.load().find("free") is None

    def test_a_provider_whose_key_cannot_be_read_serves_nothing(self, settings: Settings) -> None:
        load()
        settings.ENCRYPTION_KEYS = {"other": bytes(32)}
        assert catalogue.load().models["a/m"].routes == ()


class TestVersion:
    def test_every_change_of_the_catalogue_raises_it(self) -> None:
        load()
        model = Model.objects.get()
        seen = [catalogue.version()]
        Provider.objects.filter(slug="dear").update(rpm=1)
        seen.append(catalogue.version())
        Model.objects.update(name="x")
        seen.append(catalogue.version())
        ModelAlias.objects.create(alias="z", model=model)
        seen.append(catalogue.version())
        Route.objects.filter(upstream_model="m").delete()
        seen.append(catalogue.version())
        Price.objects.create(subject="a/m", role="retail", effective_from="2999-01-01T00:00:00Z")
        seen.append(catalogue.version())
        assert seen == sorted(set(seen))
        assert catalogue.load().version == seen[-1]
