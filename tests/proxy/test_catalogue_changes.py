from __future__ import annotations

from typing import Any

import pytest
import yaml

from accounts.models import AuditEvent
from billing.models import Price
from proxy import catalogue, catalogue_changes, catalogue_file
from proxy.catalogue_changes import Report
from proxy.catalogue_file import CatalogueError
from proxy.models import Model, ModelAlias, Provider, Route

pytestmark = pytest.mark.django_db


def provider(**changes: Any) -> dict[str, Any]:
    return {
        "slug": "p",
        "kind": "openai",
        "base_url": "https://example.com/v1/",
        "api_key": "secret-1",
        **changes,
    }


def model(**changes: Any) -> dict[str, Any]:
    return {
        "slug": "a/b",
        "kind": "chat",
        "context_length": 1000,
        "max_output_tokens": 100,
        "price": {"prompt": "1", "completion": "2"},
        "routes": [{"provider": "p", "upstream_model": "b", "cost": {"prompt": "0.5"}}],
        **changes,
    }


def apply(
    *models: dict[str, Any], providers: list[dict[str, Any]] | None = None, **options: Any
) -> Report:
    content = {
        "providers": [provider()] if providers is None else providers,
        "models": list(models),
    }
    return catalogue_changes.apply(
        file=catalogue_file.parse(yaml.safe_dump(content)), environment={}, **options
    )


def done(report: Report) -> list[tuple[str, str, str]]:
    return [(change.action, change.what, change.name) for change in report.changes]


class TestApply:
    def test_it_adds_what_the_file_names(self) -> None:
        assert done(apply(model(aliases=["b"]))) == [
            ("add", "provider", "p"),
            ("add", "model", "a/b"),
            ("set", "alias", "b"),
            ("add", "retail price", "a/b"),
            ("add", "route", "a/b@p:b"),
            ("add", "cost price", "a/b@p:b"),
        ]
        row = Model.objects.get()
        assert (row.name, row.owned_by, row.output_limit) == ("a/b", "a", "max_tokens")

    def test_a_second_load_changes_nothing(self) -> None:
        apply(model(aliases=["b"]))
        before = catalogue.version()
        assert apply(model(aliases=["b"])).changes == []
        assert catalogue.version() == before

    def test_it_updates_what_is_different_and_says_which_fields(self) -> None:
        apply(model())
        report = apply(model(max_output_tokens=50, name="B"))
        assert [change.fields for change in report.changes] == [
            {"name": "B", "max_output_tokens": 50}
        ]

    def test_what_the_file_does_not_name_stays(self) -> None:
        apply(model(aliases=["b"]), model(slug="c"))
        assert apply(model(slug="c")).changes == []
        assert Model.objects.filter(enabled=True).count() == 2
        assert ModelAlias.objects.count() == 1

    def test_prune_switches_off_what_the_file_does_not_name_and_deletes_no_row(self) -> None:
        apply(
            model(
                aliases=["b"],
                routes=[
                    {"provider": "p", "upstream_model": "b"},
                    {"provider": "q", "upstream_model": "b"},
                ],
            ),
            model(slug="c"),
            providers=[provider(), provider(slug="q")],
        )
        report = apply(model(), prune=True)
        assert done(report)[1:] == [
            ("disable", "provider", "q"),
            ("disable", "model", "c"),
            ("disable", "route", "a/b@q:b"),
            ("disable", "route", "c@p:b"),
            ("remove", "alias", "b"),
        ]
        assert (Provider.objects.count(), Model.objects.count(), Route.objects.count()) == (2, 2, 3)
        assert apply(model(), prune=True).changes == []

    def test_what_was_switched_off_is_on_again_when_it_is_named(self) -> None:
        apply(model())
        apply(providers=[], prune=True)
        assert not Model.objects.get().enabled
        apply(model())
        assert Model.objects.get().enabled
        assert Route.objects.get().enabled

    def test_every_change_is_in_the_audit_log_and_no_secret_is(self) -> None:
        apply(model())
        done_now = list(AuditEvent.objects.order_by("id"))

        assert {event.action for event in done_now} == {
            "catalogue.provider.add",
            "catalogue.model.add",
            "catalogue.route.add",
            "catalogue.retail_price.add",
            "catalogue.cost_price.add",
        }
        assert {(event.actor, event.workspace) for event in done_now} == {("operator", None)}
        assert "secret-1" not in str([event.after for event in done_now])

    def test_a_dry_run_says_the_same_and_changes_nothing(self) -> None:
        planned = apply(model(aliases=["b"]), dry_run=True)
        assert Model.objects.count() == Provider.objects.count() == Price.objects.count() == 0
        assert planned.dry_run
        assert done(planned) == done(apply(model(aliases=["b"])))

    def test_an_error_changes_nothing(self) -> None:
        with pytest.raises(CatalogueError, match="there is no provider 'q'"):
            apply(model(routes=[{"provider": "q", "upstream_model": "b"}]))
        assert Provider.objects.count() == 0


class TestAliases:
    def test_an_alias_of_a_model_that_is_not_named_is_taken(self) -> None:
        apply(model(aliases=["x"]))
        with pytest.raises(CatalogueError, match="the alias 'x' belongs to a/b"):
            apply(model(slug="c", aliases=["x"]))

    def test_an_alias_moves_between_models_that_are_both_named(self) -> None:
        apply(model(aliases=["x"]), model(slug="c"))
        apply(model(), model(slug="c", aliases=["x"]))
        assert ModelAlias.objects.get(alias="x").model.slug == "c"

    def test_an_alias_is_no_models_slug_and_a_slug_no_alias(self) -> None:
        apply(model(aliases=["x"]), model(slug="c"))
        with pytest.raises(CatalogueError, match="the alias 'a/b' is a model's slug"):
            apply(model(slug="d", aliases=["a/b"]))
        with pytest.raises(CatalogueError, match="this name is an alias of a/b"):
            apply(model(slug="x"))


class TestPrices:
    def test_another_price_is_a_new_version(self) -> None:
        apply(model())
        report = apply(model(price={"prompt": "1", "completion": "3"}))
        assert done(report) == [("add", "retail price", "a/b")]
        assert Price.objects.filter(subject="a/b", role="retail").count() == 2
        assert catalogue.load().models["a/b"].rates.completion == 3_000_000

    def test_a_price_of_the_future_waits_for_its_time(self) -> None:
        apply(model())
        later = model(price={"prompt": "9", "completion": "9"}, effective_from="2999-01-01")
        assert len(apply(later).changes) == 1
        assert apply(later).changes == []
        snapshot = catalogue.load()
        assert snapshot.models["a/b"].rates.prompt == 1_000_000
        assert snapshot.next_change_at is not None
        assert snapshot.next_change_at.year == 2999

    def test_a_version_is_never_changed(self) -> None:
        apply(model(effective_from="2999-01-01"))
        with pytest.raises(CatalogueError, match="choose a later effective_from"):
            apply(model(effective_from="2999-01-01", price={"per_call": "1"}))

    def test_a_route_may_have_its_own_price(self) -> None:
        dear = {"provider": "p", "upstream_model": "b", "price": {"per_call": "1"}}
        apply(model(routes=[dear]))
        (route,) = catalogue.load().models["a/b"].routes
        assert route.rates.per_call == 10**12
        apply(model())
        (route,) = catalogue.load().models["a/b"].routes
        assert route.rates.per_call is None


class TestApiKeys:
    def test_a_key_is_stored_sealed_and_never_reported(self) -> None:
        report = apply()
        row = Provider.objects.get()
        assert b"secret-1" not in bytes(row.api_key_encrypted)
        assert row.api_key_key_id
        assert row.api_key() == "secret-1"
        assert "secret-1" not in repr(report)

    def test_another_key_is_a_change_and_no_key_leaves_it_alone(self) -> None:
        apply()
        assert len(apply(providers=[provider(api_key="secret-2")]).changes) == 1
        assert apply(providers=[provider(api_key=None)]).changes == []
        assert Provider.objects.get().api_key() == "secret-2"

    def test_a_key_can_come_from_the_environment(self) -> None:
        file = catalogue_file.parse(
            yaml.safe_dump({"providers": [provider(api_key=None, api_key_env="SOME_KEY")]})
        )
        with pytest.raises(CatalogueError, match="SOME_KEY is not set"):
            catalogue_changes.apply(file=file, environment={})
        catalogue_changes.apply(file=file, environment={"SOME_KEY": "from-env"})
        assert Provider.objects.get().api_key() == "from-env"

    def test_the_key_of_the_cost_report_comes_from_the_environment(self) -> None:
        terms = {"cost_report": "openai", "cost_report_key_env": "ADMIN_KEY"}
        file = catalogue_file.parse(yaml.safe_dump({"providers": [provider(**terms)]}))
        with pytest.raises(CatalogueError, match="ADMIN_KEY is not set"):
            catalogue_changes.apply(file=file, environment={})
        report = catalogue_changes.apply(file=file, environment={"ADMIN_KEY": "admin"})
        assert "admin" not in str(
            [change.fields.get("cost_report_key") for change in report.changes]
        )
        assert Provider.objects.get().cost_report_key() == "admin"
        again = catalogue_changes.apply(file=file, environment={"ADMIN_KEY": "admin"})
        assert again.changes == []
