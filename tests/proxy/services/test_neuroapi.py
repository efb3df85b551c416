"""A client written for NeuroAPI: one base URL, one endpoint for all models, OpenAI's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from billing import prices
from billing.pricing import Rates
from proxy.models import Model, Provider
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import PAST, AddModel, Shop, hello, make_provider, request_id
from tests.proxy.services.conftest import CHEAP

URL = "/v1/chat/completions"
MODEL = "gpt-5-mini"
SIZES = ("1024x1024", "1536x1024", "1024x1536")
QUALITIES = ("low", "medium", "high")
PRICES = {
    size: {quality: (1 + n * 3 + m) * 10_000_000_000 for m, quality in enumerate(QUALITIES)}
    for n, size in enumerate(SIZES)
}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


class TestTheSdk:
    def test_needs_base_url_and_key_only(self, sdk: openai.OpenAI) -> None:
        """NA-01"""
        completion = sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello!"}]
        )

        assert completion.choices[0].message.content == "hello from upstream"
        assert completion.model == MODEL

    def test_plain_http_does_the_same(self, client: httpx.Client) -> None:
        """NA-01, NA-03: the key is a Bearer."""
        assert client.headers["authorization"].startswith("Bearer sk-")
        response = client.post(URL, json=hello(MODEL))

        assert response.status_code == 200
        assert response.json()["choices"][0]["message"]["content"] == "hello from upstream"


class TestRoutes:
    @pytest.fixture
    def second(self) -> Any:
        with FakeUpstream() as second:
            yield second

    @pytest.fixture
    def models(
        self, shop: Shop, add_model: AddModel, provider: Provider, second: FakeUpstream
    ) -> None:
        """A model that the provider with the better place in the list sells dearer."""
        cheaper = make_provider("cheaper", second.base_url)
        add_model("two/routes", rates=CHEAP, providers=(provider, cheaper))
        for slug, cost in (("first", 900_000), ("cheaper", 100_000)):
            subject = f"two/routes@{slug}:up-two/routes"
            rates = Rates(prompt=cost, completion=cost)
            prices.set_price(subject=subject, role="cost", rates=rates, now=PAST)

    def test_the_cheapest_is_taken(self, client: httpx.Client) -> None:
        """NA-02"""
        response = client.post(URL, json=hello("two/routes"))

        assert response.headers["x-tollgate-provider"] == "cheaper"

    def test_another_follows_where_it_fails(
        self, client: httpx.Client, second: FakeUpstream, shop: Shop
    ) -> None:
        """NA-02: one answer, one charge."""
        second.script(fake.error(500))

        response = client.post(URL, json=hello("two/routes"))

        assert response.status_code == 200
        assert response.headers["x-tollgate-provider"] == "first"
        assert [each.outcome for each in shop.attempts(request_id(response))] == ["lost", "won"]
        assert [row.charged for row in shop.usage] == [16_000]


class TestParameters:
    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param({"temperature": 0.3}, id="NA-05 temperature"),
            pytest.param({"top_p": 0.9}, id="NA-05 top_p"),
            pytest.param({"presence_penalty": 0.5}, id="NA-05 presence_penalty"),
            pytest.param({"frequency_penalty": -0.5}, id="NA-05 frequency_penalty"),
            pytest.param({"tools": [WEATHER]}, id="NA-06 tools"),
            pytest.param({"tools": [WEATHER], "tool_choice": "required"}, id="NA-06 tool_choice"),
            pytest.param(
                {
                    "tools": [WEATHER],
                    "tool_choice": {"type": "function", "function": {"name": "weather"}},
                },
                id="NA-06 one function",
            ),
            pytest.param({"stop": "\n"}, id="NA-08 stop"),
            pytest.param({"seed": 42}, id="NA-09 seed"),
            pytest.param({"response_format": {"type": "json_object"}}, id="NA-10"),
        ],
    )
    def test_travel_as_they_were_sent(
        self, client: httpx.Client, upstream: FakeUpstream, sent: dict[str, Any]
    ) -> None:
        """NA-05, NA-06, NA-08, NA-09, NA-10"""
        response = client.post(URL, json=hello(MODEL, **sent))

        assert response.status_code == 200, response.text
        assert "x-tollgate-ignored" not in response.headers
        assert sent.items() <= upstream.calls[0].body.items()

    def test_model_and_messages_of_three_roles(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NA-04"""
        turns = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Three?"},
        ]

        assert client.post(URL, json={"model": MODEL, "messages": turns}).status_code == 200
        assert upstream.calls[0].body["messages"] == turns

    def test_a_tool_call_comes_back(self, client: httpx.Client, upstream: FakeUpstream) -> None:
        """NA-06"""
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": "{}"},
        }
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        upstream.script(fake.completion(message=message, finish_reason="tool_calls"))

        [choice] = client.post(URL, json=hello(MODEL, tools=[WEATHER])).json()["choices"]

        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["tool_calls"] == [call]

    def test_a_seed_is_an_integer(self, client: httpx.Client) -> None:
        """NA-09"""
        error = client.post(URL, json=hello(MODEL, seed="x")).json()["error"]

        assert (error["code"], error["param"]) == (400, "seed")

    def test_stream_gives_server_sent_events(self, client: httpx.Client) -> None:
        """NA-07"""
        response = client.post(URL, json=hello(MODEL, stream=True))

        assert response.headers["content-type"].startswith("text/event-stream")
        assert all(part.startswith("data: ") for part in response.text.split("\n\n") if part)


class TestPictures:
    """Every documented size and quality of gpt-image-1, by the official SDK."""

    @pytest.fixture
    def sdk(self, gateway: GatewayServer, everything: str) -> Iterator[openai.OpenAI]:
        base_url = f"{gateway.url}/v1"
        with openai.OpenAI(api_key=everything, base_url=base_url, max_retries=0) as client:
            yield client

    @pytest.fixture
    def models(self, shop: Shop, add_model: AddModel) -> None:
        """Sell gpt-image-1 with another price for each size and quality."""
        add_model("gpt-image-1", rates=Rates(image=PRICES))
        Model.objects.filter(slug="gpt-image-1").update(kind="image")

    @pytest.mark.parametrize("quality", [*QUALITIES, "auto", None])
    def test_gpt_image_1_takes_every_size_and_quality(
        self, sdk: openai.OpenAI, upstream: FakeUpstream, shop: Shop, quality: Any
    ) -> None:
        """NA-11, NA-12: what is open is charged as what was made, anything else as asked."""
        for size in (*SIZES, "auto", None):
            made = {"size": SIZES[1], "quality": "medium"}
            asked = {"size": size, "quality": quality}
            sent = {name: value for name, value in asked.items() if value is not None}
            made |= {name: value for name, value in sent.items() if value != "auto"}
            upstream.script(fake.answer({"created": 1, "data": [{"b64_json": "aGk="}], **made}))

            answer = sdk.images.generate(model="gpt-image-1", prompt="a cat", **sent)

            assert answer.data is not None
            assert answer.data[0].b64_json == "aGk="
            assert (answer.size, answer.quality) == (made["size"], made["quality"])
            body = {"model": "up-gpt-image-1", "prompt": "a cat", **sent}
            assert upstream.calls[-1].body == body
            assert shop.last.charged * 1000 == PRICES[made["size"]][made["quality"]], asked

    @pytest.mark.parametrize(
        ("name", "value"), [("size", "1x1"), ("size", "big"), ("quality", "best"), ("n", 0)]
    )
    def test_anything_else_is_named(
        self, sdk: openai.OpenAI, upstream: FakeUpstream, name: str, value: Any
    ) -> None:
        """NA-12"""
        with pytest.raises(openai.BadRequestError) as refused:
            sdk.images.generate(model="gpt-image-1", prompt="a cat", **{name: value})

        assert refused.value.param == name
        assert upstream.calls == []


class TestModels:
    def test_the_named_ones_can_be_listed(self, gateway: GatewayServer, everything: str) -> None:
        """NA-13"""
        with gateway.client(everything) as client:
            listed = {each["id"] for each in client.get("/v1/models").json()["data"]}
            by_alias = client.get(f"/v1/models/{MODEL}").json()

        assert {"openai/gpt-5-mini", "dall-e-3", "gpt-image-1"} <= listed
        assert (by_alias["id"], by_alias["object"]) == (MODEL, "model")
