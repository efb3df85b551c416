"""A gateway that sells the models that the five services name in their references."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from accounts.scopes import INFERENCE
from billing import grants
from billing.pricing import Rates
from proxy.models import Model, Route
from tests.fakes.gateway import GatewayServer
from tests.proxy.conftest import AddModel, Shop

CHEAP = Rates(prompt=1_000_000, completion=2_000_000)
GPT_4O = Rates(prompt=2_500_000, completion=10_000_000)
PICTURES = Rates(image={"1024x1024": {"standard": 40_000_000_000}})
NAMED = (
    "anthropic/claude-sonnet-4",
    "meta-llama/llama-3-70b",
    "neyra/1D",
    "gpt-5",
    "claude-sonnet-4.5",
    "gemini-3-pro",
    "deepseek-r1",
)
PAINTERS = ("dall-e-3", "gpt-image-1")
FOUR_STOPS = "meta-llama/llama-3-70b"


@pytest.fixture
def models(shop: Shop, add_model: AddModel) -> None:
    """All named models; one takes four stop sequences only, as OpenAI's own do."""
    add_model("openai/gpt-4o", rates=GPT_4O, alias="gpt-4o", context_length=128_000)
    add_model("openai/gpt-5-mini", rates=CHEAP, alias="gpt-5-mini")
    for slug in NAMED:
        add_model(slug, rates=CHEAP)
    for slug in PAINTERS:
        add_model(slug, rates=PICTURES)
    Model.objects.filter(slug__in=PAINTERS).update(kind="image")
    Route.objects.filter(model__slug=FOUR_STOPS).update(max_stop=4)
    grants.grant(workspace=shop.workspace, asset="TOK", amount=300, reason="test", paid=True)


@pytest.fixture
def gateway(shop: Shop, models: None) -> Iterator[GatewayServer]:
    with GatewayServer() as gateway:
        yield gateway


@pytest.fixture
def everything(shop: Shop) -> str:
    """A key for all surfaces."""
    _, secret = shop.new_key(scopes=sorted(INFERENCE))
    return secret


@pytest.fixture
def sdk(gateway: GatewayServer, shop: Shop) -> Iterator[openai.OpenAI]:
    """The official SDK, as a customer sets it up."""
    with openai.OpenAI(api_key=shop.secret, base_url=f"{gateway.url}/v1", max_retries=0) as client:
        yield client
