"""The price calculator, and that it agrees with whoever else names a price."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

import httpx
import pytest
from django.test import Client

from accounts.scopes import INFERENCE
from billing import prices
from billing.models import Transfer
from billing.pricing import Rates
from common import money
from proxy.models import Model, Provider, Route
from tests import pages
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import PAST, AddModel, Shop, hello, request_id

CALLS = 100
NANO = Decimal("0.000000001")
SIZES, QUALITIES = ("1024x1024", "1536x1024"), ("low", "high")
# Long enough for the tokens that the provider tells: more than is held is never charged.
PROMPT = [{"role": "user", "content": "word " * 1200}]
COUNTS = ("input", "cached", "cache_write", "output", "searches", "pictures")


@dataclass(frozen=True, slots=True)
class Bought:
    """One call, what it used, and how the gateway answered."""

    model: str
    used: dict[str, Any]
    answer: httpx.Response


def sell_everything(dice: random.Random, add_model: AddModel, provider: Provider) -> None:
    """Models at random prices: what is not priced apart, what is, calls, searches, pictures."""

    def pico() -> int:
        return dice.randrange(1, 5_000_000)

    add_model("test/plain", rates=Rates(prompt=pico(), completion=pico()))
    add_model(
        "test/parts",
        rates=Rates(
            prompt=pico(),
            completion=pico(),
            cached_prompt=pico(),
            cache_write=pico(),
            per_call=pico(),
            web_search=pico() * 1000,
        ),
    )
    Route.objects.filter(model__slug="test/parts").update(max_searches=5)
    picture = Model.objects.create(
        slug="gpt-image-1", name="pictures", owned_by="tests", kind="image"
    )
    Route.objects.create(model=picture, provider=provider, upstream_model="up-image")
    listed = {size: {quality: pico() * 10**4 for quality in QUALITIES} for size in SIZES}
    prices.set_price(subject="gpt-image-1", role="retail", rates=Rates(image=listed), now=PAST)


@pytest.fixture
def client(
    shop: Shop, add_model: AddModel, provider: Provider
) -> Iterator[tuple[httpx.Client, random.Random]]:
    dice = random.Random(20261121)
    sell_everything(dice, add_model, provider)
    _, secret = shop.new_key(name="fast", scopes=sorted(INFERENCE), rpm=600)
    with GatewayServer() as gateway, gateway.client(secret) as client:
        yield client, dice


def buy(client: httpx.Client, upstream: FakeUpstream, dice: random.Random) -> Bought:
    """Make one call of a random kind; the provider tells random usage."""
    if dice.random() < 0.2:
        return _buy_picture(client, upstream, dice)
    model = dice.choice(("test/plain", "test/parts"))
    used = {
        "input": dice.randrange(3000),
        "cached": dice.randrange(2000) * dice.choice((0, 1)),
        "cache_write": dice.randrange(500) * dice.choice((0, 1)),
        "output": dice.randrange(1, 900),
    }
    details = {"cached_tokens": used["cached"], "cache_write_tokens": used["cache_write"]}
    whole = used["input"] + used["cached"] + used["cache_write"]
    usage = fake.usage(whole, used["output"], prompt_tokens_details=details)
    wishes: dict[str, Any] = {}
    if model == "test/parts" and dice.random() < 0.5:
        used["searches"] = dice.randrange(6)
        usage["server_tool_use"] = {"web_search_requests": used["searches"]}
        wishes = {"web_search_options": {}}
    upstream.script(fake.completion("found", with_usage=False, usage=usage))
    body = hello(model, max_tokens=900, **wishes) | {"messages": PROMPT}
    answer = client.post("/v1/chat/completions", json=body)
    return Bought(model, used, answer)


def _buy_picture(client: httpx.Client, upstream: FakeUpstream, dice: random.Random) -> Bought:
    wishes: dict[str, Any] = {"size": dice.choice(SIZES), "quality": dice.choice(QUALITIES)}
    count = dice.randrange(1, 5)
    told = {"created": 1, "data": [{"b64_json": "eA=="}] * count, **wishes}
    upstream.script(fake.answer(told))
    body = {"model": "gpt-image-1", "prompt": "a cat", "n": count, **wishes}
    answer = client.post("/v1/images/generations", json=body)
    return Bought("gpt-image-1", {"pictures": count, **wishes}, answer)


def calculated(browser: Client, bought: Bought) -> Decimal:
    """What the page says that it costs."""
    page = browser.get("/pricing", {"model": bought.model, **bought.used}).content.decode()
    found = re.search(r'data-testid="quote">\$([0-9.,]+)<', page)
    assert found, page
    return Decimal(found.group(1).replace(",", ""))


def listed(pricing: dict[str, Any], used: dict[str, Any]) -> Decimal:
    """What it costs by the prices of /v1/models, in plain decimal arithmetic."""
    counts = dict.fromkeys(COUNTS, 0) | used
    total: Decimal = Decimal(pricing.get("request", "0"))
    for name, price in (
        ("input", "prompt"),
        ("cached", "input_cache_read"),
        ("cache_write", "input_cache_write"),
        ("output", "completion"),
    ):
        thousand = Decimal(pricing.get(price, pricing.get("prompt", "0")))
        total += counts[name] * thousand / 1000
    total += counts["searches"] * Decimal(pricing.get("web_search", "0"))
    if counts["pictures"]:
        total += counts["pictures"] * Decimal(pricing["image"][used["size"]][used["quality"]])
    return total.quantize(NANO, ROUND_CEILING)


class TestCalculator:
    def test_agrees_with_the_receipt_the_list_of_models_and_the_ledger(
        self, client: tuple[httpx.Client, random.Random], upstream: FakeUpstream, shop: Shop
    ) -> None:
        ask, dice = client
        shop.fund("100")
        models = {each["id"]: each["pricing"] for each in ask.get("/v1/models").json()["data"]}
        browser = pages.browser(shop.user)
        kinds = set()

        for _ in range(CALLS):
            bought = buy(ask, upstream, dice)
            assert bought.answer.status_code == 200, bought.answer.text
            call = request_id(bought.answer)
            told = ask.get(
                "/v1/generation", params={"id": bought.answer.headers["x-request-id"]}
            ).json()["data"]
            booked = Transfer.objects.filter(source=call).values_list("amount", flat=True)
            said = {
                "page": calculated(browser, bought),
                "list": listed(models[bought.model], bought.used),
                "receipt": Decimal(told["charge"]["usd"]),
                "ledger": Decimal(sum(booked)) / money.NANOS_PER_USD,
            }
            assert len(set(said.values())) == 1, (bought, said)
            kinds |= {bought.model, *(name for name in COUNTS if bought.used.get(name))}

        assert {*models, *COUNTS} - {"test/tokens", "test/call"} <= kinds


@pytest.mark.django_db
class TestPage:
    def test_is_the_same_for_everybody_and_in_the_dashboard(self) -> None:
        pages.sell("test/model")
        alice = pages.browser(pages.person("alice"))

        for path in ("/pricing", "/dashboard/pricing"):
            page = alice.get(path, {"model": "test/model", "input": "1", "output": "1"})
            assert 'data-testid="quote">$0.000003<' in page.content.decode()
        assert pages.browser().get("/pricing").status_code == 200

    def test_a_part_is_asked_for_by_script(self) -> None:
        pages.sell("test/model")
        asked = {"model": "test/model", "input": "1000000"}

        part = pages.browser().get("/pricing", asked, headers={"HX-Request": "true"})

        assert "<html" not in part.content.decode()
        assert 'data-testid="quote">$1.000000<' in part.content.decode()

    @pytest.mark.parametrize(
        ("asked", "why"),
        [
            ({"model": "no/such"}, "no/such"),
            ({"model": "test/model", "input": "-1"}, "greater than or equal to 0"),
            ({"model": "test/model", "input": "many"}, "whole number"),
            ({"model": "test/model", "pictures": "1"}, "no images of this size"),
        ],
    )
    def test_what_cannot_be_priced_is_told(self, asked: dict[str, str], why: str) -> None:
        pages.sell("test/model")

        answer = pages.browser().get("/pricing", asked)

        assert answer.status_code == 400
        assert why in answer.content.decode()

    def test_an_empty_catalogue_says_so(self) -> None:
        page = pages.browser().get("/pricing").content.decode()

        assert 'data-testid="no-models"' in page
