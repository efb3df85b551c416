"""The public list of models."""

from __future__ import annotations

import pytest

from proxy.models import Model, Route
from tests import pages

pytestmark = pytest.mark.django_db


class TestModels:
    def test_an_empty_catalogue_says_so(self) -> None:
        assert 'data-testid="no-models"' in pages.browser().get("/models").content.decode()

    def test_prices_are_exact_per_million_tokens(self) -> None:
        pages.sell("test/model")

        page = pages.browser().get("/models").content.decode()

        assert "$1.00" in page
        assert "$2.00" in page

    def test_programs_get_the_same(self) -> None:
        pages.sell("test/model")

        listed = pages.browser().get("/models.json").json()["data"]

        assert [row["id"] for row in listed] == ["test/model"]
        assert listed[0]["usd_per_million_tokens"]["prompt"] == "1.00"

    def test_what_cannot_be_bought_is_not_listed(self) -> None:
        pages.sell("test/off", enabled=False)
        unrouted = pages.sell("test/unrouted")
        Route.objects.filter(model=unrouted).update(enabled=False)
        Model.objects.create(slug="test/priceless", name="x", owned_by="tests", kind="image")

        assert pages.browser().get("/models.json").json() == {"data": []}

    def test_a_model_with_two_routes_is_listed_once(self) -> None:
        model = pages.sell("test/model")
        provider = model.routes.get().provider
        Route.objects.create(model=model, provider=provider, upstream_model="another")

        assert len(pages.browser().get("/models.json").json()["data"]) == 1
