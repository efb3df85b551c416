from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from proxy.models import CatalogueVersion, Model, ModelAlias, Provider, Route, route_subject

pytestmark = pytest.mark.django_db


def add_model(slug: str = "a/b", **terms: object) -> Model:
    fields: dict[str, object] = {"kind": "embedding", "name": slug, "owned_by": "a"}
    return Model.objects.create(slug=slug, **(fields | terms))


class TestModel:
    @pytest.mark.parametrize("slug", ["", "-a", "a b", "a\n", "ключ"])
    def test_the_database_refuses_what_is_no_slug(self, slug: str) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            add_model(slug)
        with pytest.raises(IntegrityError), transaction.atomic():
            ModelAlias.objects.create(alias=slug, model=add_model())

    def test_slugs_are_case_sensitive(self) -> None:
        add_model("neyra/1D")
        add_model("neyra/1d")

    @pytest.mark.parametrize("terms", [{}, {"context_length": 1000}, {"max_output_tokens": 10}])
    def test_a_chat_model_without_bounds_is_refused(self, terms: dict[str, Any]) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            add_model(kind="chat", **terms)

    def test_a_name_is_a_slug_or_an_alias(self) -> None:
        model = add_model("one")
        ModelAlias.objects.create(alias="other", model=model)
        with pytest.raises(ValidationError):
            Model(slug="other").clean()
        with pytest.raises(ValidationError):
            ModelAlias(alias="one").clean()
        model.clean()


class TestProvider:
    def test_a_key_is_sealed_and_can_be_taken_away(self) -> None:
        provider = Provider(slug="p", kind="openai", base_url="https://example.com")
        provider.set_api_key("secret")
        assert b"secret" not in provider.api_key_encrypted
        assert provider.api_key() == "secret"
        provider.set_api_key("")
        assert provider.api_key() == ""


class TestRoute:
    def test_its_subject_names_model_provider_and_upstream_model(self) -> None:
        provider = Provider.objects.create(slug="p", kind="openai", base_url="https://example.com")
        route = Route(model=add_model(), provider=provider, upstream_model="x:y")
        assert route.subject == "a/b@p:x:y"
        assert route.subject == route_subject(model="a/b", provider="p", upstream_model="x:y")


class TestCatalogueVersion:
    def test_there_is_one_row(self) -> None:
        assert CatalogueVersion.objects.count() == 1
        with pytest.raises(IntegrityError), transaction.atomic():
            CatalogueVersion.objects.create(id=2, version=1)


class TestAttempt:
    def test_it_is_kept_once_per_request_and_number(self) -> None:
        insert = (
            "insert into proxy_attempt (request_id, day, n, provider, upstream_model, outcome)"
            " values ('018f0000-0000-7000-8000-000000000000', current_date, 1, 'p', 'm', 'won')"
        )
        with connection.cursor() as cursor:
            cursor.execute(insert)
            with pytest.raises(IntegrityError), transaction.atomic():
                cursor.execute(insert)
