"""A customer whose key may use every surface; models of every kind; the sandbox for sale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

from accounts.scopes import INFERENCE
from billing import prices
from billing.pricing import Rates
from proxy import catalogue_changes, demo
from proxy.catalogue_file import CatalogueFile
from proxy.models import Model, Provider, Route
from tests.fakes.gateway import GatewayServer
from tests.fakes.sandbox import TOKEN, SandboxServer
from tests.proxy.conftest import PAST, Shop

Sell = Callable[..., Model]


@pytest.fixture
def sell(provider: Provider) -> Sell:
    """Return what puts a model without bounds, of embeddings or pictures, up for sale."""

    def add(
        slug: str, *, kind: str, rates: Rates, providers: tuple[Provider, ...] = (), **terms: object
    ) -> Model:
        model = Model.objects.create(
            slug=slug,
            name=slug,
            owned_by="tests",
            kind=kind,
            **({"prompt_overhead_tokens": 0} | terms),
        )
        prices.set_price(subject=slug, role="retail", rates=rates, now=PAST)
        for priority, each in enumerate(providers or (provider,)):
            Route.objects.create(
                model=model, provider=each, upstream_model=f"up-{slug}", priority=priority
            )
        return model

    return add


@pytest.fixture
def key(shop: Shop) -> str:
    """A key of the shop's workspace for all surfaces."""
    _, secret = shop.new_key(name="all", scopes=sorted(INFERENCE))
    return secret


@pytest.fixture
def client(key: str, models: None, gateway: GatewayServer) -> Iterator[httpx.Client]:
    with gateway.client(key) as client:
        yield client


@pytest.fixture
def models() -> None:
    """Models that a test needs before the gateway starts; test modules override it."""


@pytest.fixture
def sdk(key: str, models: None, gateway: GatewayServer) -> Iterator[openai.OpenAI]:
    """The official SDK, as a customer sets it up."""
    with openai.OpenAI(api_key=key, base_url=f"{gateway.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture
def sandbox(transactional_db: None, tmp_path: Path) -> Iterator[SandboxServer]:
    """The sandbox, its models for sale as in the demo."""
    with SandboxServer(log_path=tmp_path / "sandbox-calls.jsonl") as server:
        provider = demo.sandbox_provider(base_url=f"{server.url}/v1", token=TOKEN)
        catalogue_changes.apply(
            file=CatalogueFile(providers=[provider], models=demo.sandbox_models())
        )
        yield server
