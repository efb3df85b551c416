"""The public list of models."""

from __future__ import annotations

import re

import pytest

from proxy.models import Model, Route
from proxy.views_models import COLUMNS
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

    def test_what_goes_in_and_out_is_said(self) -> None:
        pages.sell("test/seeing", capabilities=["tools", "vision"])
        pages.sell("test/vectors", kind="embedding")
        browser = pages.browser()

        seeing, vectors = browser.get("/models.json").json()["data"]
        said = re.findall(
            r'data-testid="modalities">([^<]+)<', browser.get("/models").content.decode()
        )

        assert (seeing["input_modalities"], seeing["output_modalities"]) == (
            ["text", "image"],
            ["text"],
        )
        assert (vectors["input_modalities"], vectors["output_modalities"]) == (
            ["text"],
            ["embedding"],
        )
        assert said == ["text, image → text", "text → embedding"]

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


class TestChoice:
    @pytest.fixture(autouse=True)
    def catalogue(self) -> None:
        pages.sell("acme/large", context_length=128_000, capabilities=["vision"])
        pages.sell("acme/small", context_length=8_000)
        pages.sell("other/vector", kind="embedding", context_length=None)

    def listed(self, query: str) -> list[str]:
        rows = pages.browser().get(f"/models.json?{query}").json()["data"]
        return [row["id"] for row in rows]

    def test_every_word_that_is_sought_is_in_name_maker_or_abilities(self) -> None:
        assert self.listed("q=ACME") == ["acme/large", "acme/small"]
        assert self.listed("q=acme+vision") == ["acme/large"]
        assert self.listed("q=nothing+such") == []

    def test_one_kind_is_shown_alone(self) -> None:
        assert self.listed("kind=embedding") == ["other/vector"]

    def test_a_column_sorts_both_ways_and_what_has_no_value_is_last(self) -> None:
        assert self.listed("sort=context") == ["acme/small", "acme/large", "other/vector"]
        assert self.listed("sort=-context") == ["acme/large", "acme/small", "other/vector"]

    def test_where_heads_are_not_shown_each_order_is_offered(self) -> None:
        page = pages.browser().get("/models?sort=-input").content.decode()

        offered = re.findall(
            r'<option value="(-?[a-z]+)"( selected)?>', page.split('name="sort"')[1]
        )
        assert {name for name, _ in offered} == {
            f"{turn}{each}" for each in COLUMNS for turn in ("", "-")
        }
        assert [name for name, chosen in offered if chosen] == ["-input"]

    def test_what_cannot_be_read_is_not_asked(self) -> None:
        assert self.listed("sort=-colour&kind=%00") == self.listed("")

    def test_the_page_says_how_it_is_sorted_and_links_to_the_same_as_json(self) -> None:
        page = pages.browser().get("/models?q=acme&sort=-context").content.decode()

        assert page.count('data-testid="model"') == 2
        assert 'aria-sort="descending"' in page
        assert 'href="/models.json?q=acme&amp;sort=-context"' in page

    def test_when_nothing_fits_it_says_how_to_see_all(self) -> None:
        page = pages.browser().get("/models?q=nothing").content.decode()

        assert 'data-testid="none-fit"' in page
