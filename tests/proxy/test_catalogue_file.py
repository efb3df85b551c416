from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy import catalogue_file
from proxy.catalogue_file import CatalogueError, ModelEntry, PriceEntry

FULL = """
providers:
  - slug: openai
    kind: openai
    base_url: https://api.openai.com/v1
    api_key_env: OPENAI_API_KEY
    on_disconnect: drain
    generation_lookup: none
    cost_report: openai
    rpm: 5000
    concurrency: 500
    enabled: true
models:
  - slug: openai/gpt-4o
    aliases: [gpt-4o]
    name: GPT-4o
    owned_by: openai
    kind: chat
    context_length: 128000
    max_output_tokens: 16384
    max_image_tokens: 1500
    prompt_overhead_tokens: 100
    capabilities: [vision, tools, json_schema]
    parameters: {unsupported: [], output_limit: max_completion_tokens}
    effective_from: null
    price:
      {prompt: "2.50", completion: "10.00", cached_prompt: "1.25", cache_write: null,
       per_call: null, web_search: null}
    routes:
      - {provider: openai, upstream_model: gpt-4o,
         cost: {prompt: "2.50", completion: "10.00", cached_prompt: "1.25"},
         priority: 0, max_stop: 4, max_searches: 3}
  - slug: openai/gpt-image-1
    kind: image
    price: {image: {"1024x1024": {low: "0.011", medium: "0.042", high: "0.167"}}}
    routes:
      - provider: openai
        upstream_model: gpt-image-1
        cost: {image: {"1024x1024": {low: "0.011", medium: "0.042", high: "0.167"}}}
"""


def model(**changes: Any) -> dict[str, Any]:
    entry = {
        "slug": "a/b",
        "kind": "chat",
        "context_length": 1000,
        "max_output_tokens": 100,
        "price": {"prompt": "1", "completion": "2"},
        "routes": [{"provider": "p", "upstream_model": "b"}],
        **changes,
    }
    return {name: value for name, value in entry.items() if value is not ...}


def provider(**changes: Any) -> dict[str, Any]:
    return {"slug": "p", "kind": "openai", "base_url": "https://example.com/v1", **changes}


def parse(*, models: list[Any] | None = None, providers: list[Any] | None = None) -> Any:
    return catalogue_file.parse(
        yaml.safe_dump({"providers": providers or [], "models": models or []})
    )


class TestParse:
    def test_the_documented_example_is_read_whole(self) -> None:
        file = catalogue_file.parse(FULL)
        chat, image = file.models
        assert file.providers[0].rpm == 5000
        assert chat.parameters.output_limit == "max_completion_tokens"
        assert (chat.routes[0].max_stop, chat.routes[0].max_searches) == (4, 3)
        assert image.context_length is None

    def test_an_empty_file_is_an_empty_catalogue(self) -> None:
        assert catalogue_file.parse("").models == []

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("model: []", "unknown key `model`"),
            (FULL.replace("rpm:", "rmp:"), "providers[0]: unknown key `rmp`"),
            (FULL.replace("max_stop: 4", "max_stops: 4"), "models[0].routes[0]: unknown key"),
            (FULL.replace('cached_prompt: "1.25"', 'cached: "1.25"'), "unknown key `cached`"),
            (FULL.replace("output_limit:", "limit:"), "models[0].parameters: unknown key"),
        ],
    )
    def test_an_unknown_key_is_named_with_its_place(self, text: str, place: str) -> None:
        with pytest.raises(CatalogueError) as error:
            catalogue_file.parse(text)
        assert place in str(error.value)

    @pytest.mark.parametrize("key", ["slug", "kind", "price", "routes"])
    def test_a_missing_key_is_named(self, key: str) -> None:
        with pytest.raises(CatalogueError, match=f"missing required key `{key}`"):
            parse(models=[model(**{key: ...})])

    @pytest.mark.parametrize("key", ["context_length", "max_output_tokens"])
    def test_a_chat_model_needs_its_bounds(self, key: str) -> None:
        with pytest.raises(CatalogueError, match=f"a chat model needs {key}"):
            parse(models=[model(**{key: ...})])

    @pytest.mark.parametrize(
        ("kind", "price"),
        [
            ("chat", {}),
            ("chat", {"prompt": "1"}),
            ("chat", {"completion": "1"}),
            ("chat", {"per_call": "1", "prompt": "1"}),
            ("embedding", {}),
            ("embedding", {"completion": "1"}),
            ("image", {"prompt": "1", "completion": "1"}),
            ("image", {"image": {}}),
        ],
    )
    def test_a_price_must_bound_every_call(self, kind: str, price: dict[str, Any]) -> None:
        with pytest.raises(CatalogueError, match="price: "):
            parse(models=[model(kind=kind, price=price)])

    @pytest.mark.parametrize(
        ("kind", "price"),
        [
            ("chat", {"per_call": "0.01"}),
            ("chat", {"prompt": "0", "completion": "0"}),
            ("embedding", {"prompt": "0.02"}),
            ("image", {"per_call": "0.04"}),
        ],
    )
    def test_these_prices_do(self, kind: str, price: dict[str, Any]) -> None:
        assert parse(models=[model(kind=kind, price=price)]).models[0].kind == kind

    @pytest.mark.parametrize("slug", ["", "/a", "a b", "ключ", "a" * 129, "a\n", "a?b"])
    def test_a_slug_has_its_shape(self, slug: str) -> None:
        with pytest.raises(CatalogueError, match="is not a slug"):
            parse(models=[model(slug=slug)])
        with pytest.raises(CatalogueError, match="is not a slug"):
            parse(models=[model(aliases=[slug])])

    @pytest.mark.parametrize(
        "models",
        [
            [model(), model()],
            [model(aliases=["x", "x"])],
            [model(aliases=["a/b"])],
            [model(aliases=["x"]), model(slug="c", aliases=["x"])],
            [model(aliases=["c"]), model(slug="c")],
        ],
    )
    def test_a_name_belongs_to_one_model(self, models: list[Any]) -> None:
        with pytest.raises(CatalogueError, match="is there twice"):
            parse(models=models)

    def test_the_same_route_twice_is_refused(self) -> None:
        route = {"provider": "p", "upstream_model": "b"}
        with pytest.raises(CatalogueError, match="route 'p:b' is there twice"):
            parse(models=[model(routes=[route, route])])

    def test_a_model_needs_a_route(self) -> None:
        with pytest.raises(CatalogueError, match="at least one route"):
            parse(models=[model(routes=[])])

    @pytest.mark.parametrize(
        "changes",
        [
            {"base_url": "ftp://example.com"},
            {"base_url": "example.com/v1"},
            {"base_url": "https://user:secret@example.com"},
            {"slug": "Open AI"},
            {"rpm": 0},
            {"concurrency": -1},
            {"kind": "other"},
            {"on_disconnect": "maybe"},
            {"api_key": "a", "api_key_env": "B"},
            {"enabled": "perhaps"},
        ],
    )
    def test_a_provider_that_cannot_be_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(CatalogueError):
            parse(providers=[provider(**changes)])

    @pytest.mark.parametrize(
        "changes",
        [
            {"capabilities": ["flying"]},
            {"parameters": {"unsupported": ["No Name"]}},
            {"context_length": 0},
            {"max_image_tokens": -1},
            {"max_output_tokens": 2**31},
            {"effective_from": "soon"},
            {"effective_from": 3},
        ],
    )
    def test_a_model_that_cannot_be_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(CatalogueError):
            parse(models=[model(**changes)])

    def test_a_key_that_is_there_twice_is_refused(self) -> None:
        with pytest.raises(CatalogueError, match="line 3: the key 'models' is there twice"):
            catalogue_file.parse("models: []\nproviders: []\nmodels: []")

    @pytest.mark.parametrize("text", ["a: [", "- 1\n- 2", "just text", "!!python/object:os.system"])
    def test_what_is_no_catalogue_is_refused(self, text: str) -> None:
        with pytest.raises(CatalogueError):
            catalogue_file.parse(text)


class TestRead:
    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CatalogueError, match=r"none\.yaml: No such file"):
            catalogue_file.read(tmp_path / "none.yaml")

    def test_a_binary_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x.yaml"
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(CatalogueError, match="not UTF-8"):
            catalogue_file.read(path)


class TestRatesOf:
    @pytest.mark.parametrize("written", ['"2.50"', "2.50", "2.5", "'2.500000'"])
    def test_a_price_is_exact_quoted_or_not(self, written: str) -> None:
        file = catalogue_file.parse(FULL.replace('prompt: "2.50"', f"prompt: {written}"))
        rates = catalogue_file.rates_of(file.models[0].price, place="x")
        assert rates.prompt == 2_500_000
        assert rates.cached_prompt == 1_250_000
        assert rates.cache_write is None

    def test_pieces_are_counted_in_pico_dollars(self) -> None:
        price = PriceEntry(per_call="0.000000000001", image={"1x1": {"low": "0.011"}}, web_search=1)
        rates = catalogue_file.rates_of(price, place="x")
        assert rates.per_call == 1
        assert rates.image == {"1x1": {"low": 11_000_000_000}}
        assert rates.web_search == 10**12

    @pytest.mark.parametrize(
        "written", ["0.1234567", "-1", ".nan", ".inf", "1e400", "abc", "1_000_000_001", "true"]
    )
    def test_an_amount_that_cannot_be_is_refused_with_its_place(self, written: str) -> None:
        with pytest.raises(CatalogueError, match="prompt"):
            catalogue_file.parse(FULL.replace('prompt: "2.50"', f"prompt: {written}"))


class TestEffectiveFrom:
    @pytest.mark.parametrize(
        "written", ["2026-12-01T00:00:00Z", "2026-12-01", "2026-12-01 02:00:00+02:00"]
    )
    def test_times_are_utc_unless_they_say_otherwise(self, written: str) -> None:
        file = catalogue_file.parse(
            FULL.replace("effective_from: null", f"effective_from: {written}")
        )
        assert catalogue_file.effective_from(file.models[0]) == datetime(2026, 12, 1, tzinfo=UTC)

    def test_nothing_means_from_now(self) -> None:
        entry: ModelEntry = catalogue_file.parse(FULL).models[1]
        assert catalogue_file.effective_from(entry) is None
