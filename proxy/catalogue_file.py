"""
The catalogue as operators write it: a YAML file, read strictly.

An unknown key is an error, not a typo that silently keeps a default. Numbers with a decimal
point are kept as the text that was written, so ``2.50`` and ``"2.50"`` are the same exact
price and no float comes near money.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Struct

from billing.pricing import Rates
from common import money
from proxy.models import PROVIDER_SLUG_PATTERN, SLUG_PATTERN

SLUG = re.compile(SLUG_PATTERN)
PROVIDER_SLUG = re.compile(PROVIDER_SLUG_PATTERN)
PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,63}")
LARGEST_PICO = 10**15

Money = str | int


class CatalogueError(Exception):
    """The file says something that cannot be; the message names the place."""


class PriceEntry(Struct, forbid_unknown_fields=True, kw_only=True):
    """Prices in US dollars: per million tokens, per call, per search, per picture."""

    prompt: Money | None = None
    completion: Money | None = None
    cached_prompt: Money | None = None
    cache_write: Money | None = None
    per_call: Money | None = None
    web_search: Money | None = None
    image: dict[str, dict[str, Money]] | None = None


class ProviderEntry(Struct, forbid_unknown_fields=True, kw_only=True):
    """One provider."""

    slug: str
    kind: Literal["openai", "anthropic", "gemini", "sandbox"]
    base_url: str
    api_key_env: str | None = None
    api_key: str | None = None
    on_disconnect: Literal["cancel", "drain"] = "drain"
    generation_lookup: Literal["none", "openrouter", "sandbox"] = "none"
    cost_report: Literal["none", "openai", "openrouter", "sandbox"] = "none"
    cost_report_key_env: str | None = None
    rpm: int | None = None
    concurrency: int | None = None
    enabled: bool = True


class ParametersEntry(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a model does not take, and how its output limit is called."""

    unsupported: list[str] = msgspec.field(default_factory=list)
    output_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class RouteEntry(Struct, forbid_unknown_fields=True, kw_only=True):
    """One provider's way to serve a model; ``price`` only if it differs from the model's."""

    provider: str
    upstream_model: str
    cost: PriceEntry | None = None
    price: PriceEntry | None = None
    priority: int = 0
    max_stop: int | None = None
    max_searches: int | None = None
    enabled: bool = True


class ModelEntry(Struct, forbid_unknown_fields=True, kw_only=True):
    """One model with its price and routes."""

    slug: str
    kind: Literal["chat", "embedding", "image"]
    price: PriceEntry
    routes: list[RouteEntry]
    aliases: list[str] = msgspec.field(default_factory=list)
    name: str | None = None
    owned_by: str | None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    max_image_tokens: int = 1500
    prompt_overhead_tokens: int = 100
    capabilities: list[
        Literal["vision", "tools", "json_schema", "reasoning", "web_search", "repetition_penalty"]
    ] = msgspec.field(default_factory=list)
    parameters: ParametersEntry = msgspec.field(default_factory=ParametersEntry)
    effective_from: str | None = None
    enabled: bool = True


class CatalogueFile(Struct, forbid_unknown_fields=True, kw_only=True):
    """A whole file."""

    providers: list[ProviderEntry] = msgspec.field(default_factory=list)
    models: list[ModelEntry] = msgspec.field(default_factory=list)


class _ExactLoader(yaml.SafeLoader):
    """YAML whose floats and dates stay text, and whose repeated keys are errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise CatalogueError(f"line {line}: the key {key.value!r} is there twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _as_written(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return loader.construct_scalar(node)


_ExactLoader.add_constructor("tag:yaml.org,2002:float", _as_written)
_ExactLoader.add_constructor("tag:yaml.org,2002:timestamp", _as_written)


def read(path: Path) -> CatalogueFile:
    """
    Read and check a file.

    :raises CatalogueError: it cannot be read, or says something that cannot be
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise CatalogueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CatalogueError(f"{path} is not UTF-8 text") from None
    return parse(text)


def parse(text: str) -> CatalogueFile:
    """
    Read and check YAML text.

    :raises CatalogueError: it says something that cannot be
    """
    try:
        content = yaml.load(text, Loader=_ExactLoader)  # noqa: S506 - derived from SafeLoader
    except yaml.YAMLError as error:
        raise CatalogueError(f"not YAML: {error}") from None
    try:
        file = msgspec.convert(content if content is not None else {}, CatalogueFile)
    except msgspec.ValidationError as error:
        raise CatalogueError(_readable(str(error))) from None
    _check(file)
    return file


def rates_of(entry: PriceEntry, *, place: str) -> Rates:
    """
    Return a price in pico-dollars.

    :raises CatalogueError: an amount is not exact, negative or absurdly large
    """
    per_token = money.pico_per_token_from_usd_per_million
    per_piece = money.pico_from_usd
    return Rates(
        prompt=_pico(entry.prompt, per_token, f"{place}.prompt") or 0,
        completion=_pico(entry.completion, per_token, f"{place}.completion") or 0,
        cached_prompt=_pico(entry.cached_prompt, per_token, f"{place}.cached_prompt"),
        cache_write=_pico(entry.cache_write, per_token, f"{place}.cache_write"),
        per_call=_pico(entry.per_call, per_piece, f"{place}.per_call"),
        web_search=_pico(entry.web_search, per_piece, f"{place}.web_search"),
        image=_image_rates(entry, place),
    )


def effective_from(model: ModelEntry) -> datetime | None:
    """
    Return the time at which a model's prices begin; None means when they are loaded.

    :raises CatalogueError: it is not a time
    """
    if model.effective_from is None:
        return None
    try:
        moment = datetime.fromisoformat(model.effective_from.strip())
    except ValueError:
        raise CatalogueError(
            f"model {model.slug}: effective_from: {model.effective_from!r} is not a time;"
            " write e.g. 2026-12-01T00:00:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _image_rates(entry: PriceEntry, place: str) -> dict[str, dict[str, int]] | None:
    if entry.image is None:
        return None
    return {
        size: {
            quality: _pico(usd, money.pico_from_usd, f"{place}.image.{size}.{quality}") or 0
            for quality, usd in qualities.items()
        }
        for size, qualities in entry.image.items()
    }


def _pico(usd: Money | None, convert: Any, place: str) -> int | None:
    if usd is None:
        return None
    try:
        pico: int = convert(usd)
    except ValueError as error:
        raise CatalogueError(f"{place}: {error}") from None
    if pico < 0:
        raise CatalogueError(f"{place}: a price cannot be negative")
    if pico > LARGEST_PICO:
        raise CatalogueError(f"{place}: {usd} is beyond any price we can account for")
    return pico


def _readable(message: str) -> str:
    """Turn msgspec's message into one that starts with the place."""
    text, _, place = message.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    text = text.replace("Object contains unknown field", "unknown key")
    text = text.replace("Object missing required field", "missing required key")
    return f"{place}: {text}" if place else text


def _check(file: CatalogueFile) -> None:
    for provider in file.providers:
        _check_provider(provider)
    for model in file.models:
        _check_model(model)
    _refuse_repeats((provider.slug for provider in file.providers), "provider")
    names = [name for model in file.models for name in (model.slug, *model.aliases)]
    _refuse_repeats(names, "slug or alias")


def _check_provider(provider: ProviderEntry) -> None:
    place = f"provider {provider.slug}"
    if not PROVIDER_SLUG.match(provider.slug):
        raise CatalogueError(f"{place}: a provider's slug is lower-case letters, digits, - and _")
    if not is_plain_url(provider.base_url):
        raise CatalogueError(f"{place}: base_url is not a plain http(s) URL")
    if provider.api_key is not None and provider.api_key_env is not None:
        raise CatalogueError(f"{place}: give api_key or api_key_env, not both")
    for name, limit in (("rpm", provider.rpm), ("concurrency", provider.concurrency)):
        _check_range(limit, f"{place}: {name}", least=1)


def is_plain_url(text: str) -> bool:
    """Tell whether an address is one of http or https that carries no secret and no query."""
    url = urlsplit(text)
    plain = not (url.username or url.password or url.query or url.fragment)
    return url.scheme in ("http", "https") and bool(url.hostname) and plain


def _check_model(model: ModelEntry) -> None:
    place = f"model {model.slug}"
    for name in (model.slug, *model.aliases):
        if not SLUG.match(name):
            raise CatalogueError(
                f"{place}: {name!r} is not a slug: a letter or digit, then at most 127"
                " letters, digits and . _ : / -"
            )
    if not model.routes:
        raise CatalogueError(f"{place}: a model needs at least one route")
    _check_bounds(model, place)
    for parameter in model.parameters.unsupported:
        if not PARAMETER.fullmatch(parameter):
            raise CatalogueError(f"{place}: parameters.unsupported: {parameter!r} is not a name")
    effective_from(model)
    check_price(model.price, kind=model.kind, place=f"{place}: price")
    for route in model.routes:
        _check_route(route, kind=model.kind, place=f"{place}: route {route.provider}")
    _refuse_repeats((f"{r.provider}:{r.upstream_model}" for r in model.routes), f"{place}: route")


def _check_bounds(model: ModelEntry, place: str) -> None:
    for name in ("context_length", "max_output_tokens"):
        limit = getattr(model, name)
        if limit is None and model.kind == "chat":
            raise CatalogueError(f"{place}: a chat model needs {name}")
        _check_range(limit, f"{place}: {name}", least=1)
    _check_range(model.max_image_tokens, f"{place}: max_image_tokens", least=0)
    _check_range(model.prompt_overhead_tokens, f"{place}: prompt_overhead_tokens", least=0)


def _check_route(route: RouteEntry, *, kind: str, place: str) -> None:
    if not 0 < len(route.upstream_model) <= 200:
        raise CatalogueError(f"{place}: upstream_model is 1 to 200 characters")
    _check_range(route.max_stop, f"{place}: max_stop", least=0, most=1000)
    _check_range(route.max_searches, f"{place}: max_searches", least=1, most=1000)
    _check_range(route.priority, f"{place}: priority", least=-(2**31))
    if route.price is not None:
        check_price(route.price, kind=kind, place=f"{place}: price")
    if route.cost is not None:
        rates_of(route.cost, place=f"{place}: cost")


def check_price(price: PriceEntry, *, kind: str, place: str) -> None:
    """
    A price must bound every call: what has no price must not be able to happen.

    :raises CatalogueError: it bounds not every call, or is no exact amount
    """
    rates_of(price, place=place)
    by_token = price.prompt is not None and price.completion is not None
    if kind == "chat" and not by_token and price.per_call is None:
        raise CatalogueError(f"{place}: a chat model needs prompt and completion, or per_call")
    if (
        kind == "chat"
        and price.per_call is not None
        and (price.prompt is None) != (price.completion is None)
    ):
        raise CatalogueError(f"{place}: give prompt and completion, or neither")
    if kind == "embedding" and price.prompt is None and price.per_call is None:
        raise CatalogueError(f"{place}: an embedding model needs prompt or per_call")
    if kind == "image" and not price.image and price.per_call is None:
        raise CatalogueError(f"{place}: an image model needs image or per_call")


def _check_range(number: int | None, place: str, *, least: int, most: int = 2**31 - 1) -> None:
    if number is not None and not least <= number <= most:
        raise CatalogueError(f"{place} is from {least} to {most}")


def _refuse_repeats(names: Iterable[str], what: str) -> None:
    for name in _repeats(names):
        raise CatalogueError(f"{what} {name!r} is there twice")


def _repeats(names: Iterable[str]) -> Iterator[str]:
    seen = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)
