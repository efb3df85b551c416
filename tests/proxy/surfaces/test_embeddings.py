"""``POST embeddings``: checked, held, relayed unread, priced by the prompts' tokens."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from billing.pricing import Rates
from proxy.models import Provider
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.sandbox import SandboxServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, make_provider, request_id
from tests.proxy.surfaces.conftest import Sell

PATH = "/v1/embeddings"
RATES = Rates(prompt=1_000_000)


@pytest.fixture
def models(sell: Sell) -> None:
    """``test/vectors`` costs $1 per million tokens."""
    sell("test/vectors", kind="embedding", rates=RATES, context_length=100)


def vectors(*embeddings: Any, tokens: int | None = 5) -> fake.Reply:
    """Return an upstream's answer."""
    data = [
        {"object": "embedding", "index": index, "embedding": embedding}
        for index, embedding in enumerate(embeddings)
    ]
    body: dict[str, Any] = {"object": "list", "data": data, "model": "upstream-name"}
    if tokens is not None:
        body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return fake.answer(body)


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "test/vectors", "input": "hello", **fields}


class TestAnswer:
    @pytest.mark.parametrize("base", ["/v1", "/api/v1"])
    def test_carries_the_vectors_and_the_exact_cost(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, base: str
    ) -> None:
        upstream.script(vectors([0.1, -0.25], "AACAPw=="))

        response = client.post(f"{base}/embeddings", json=ask(input=["words", "words"]))

        body = response.json()
        assert [one["embedding"] for one in body["data"]] == [[0.1, -0.25], "AACAPw=="]
        assert body["object"] == "list"
        assert body["model"] == "test/vectors"
        assert body["usage"] == {"prompt_tokens": 5, "total_tokens": 5, "cost": 0.000005}
        assert (shop.last.charged, shop.last.source, shop.last.surface) == (
            5_000,
            "provider",
            "embeddings",
        )
        assert shop.holds == 0

    def test_without_usage_is_estimated(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(vectors([1.0], tokens=None))

        client.post(PATH, json=ask(input="x" * 40))

        assert (shop.last.charged, shop.last.source) == (10_000, "count")

    def test_the_request_travels_as_it_came(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.script(vectors([1.0]))
        wishes = {"dimensions": 3, "encoding_format": "base64", "user": "u"}

        client.post(PATH, json=ask(**wishes, provider={"order": ["first"]}))

        [call] = upstream.calls
        assert call.path == PATH
        assert call.body == {"model": "up-test/vectors", "input": "hello", **wishes}

    def test_another_provider_is_asked_where_one_fails(
        self, provider: Provider, sell: Sell, shop: Shop, upstream: FakeUpstream
    ) -> None:
        """NA-02"""
        with FakeUpstream() as second:
            others = (provider, make_provider("second", second.base_url))
            sell("two/routes", kind="embedding", rates=RATES, providers=others)
            upstream.script(fake.error(500))
            second.script(vectors([1.0]))
            _, secret = shop.new_key(scopes=["embeddings"])
            with GatewayServer() as gateway, gateway.client(secret) as client:
                response = client.post(PATH, json=ask(model="two/routes"))

        assert response.json()["data"][0]["embedding"] == [1.0]
        assert response.headers["x-tollgate-attempts"] == "2"
        assert (shop.last.charged, shop.last.provider, shop.holds) == (5_000, "second", 0)

    def test_a_failing_provider_costs_nothing(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.error(500))

        response = client.post(PATH, json=ask())

        assert (response.status_code, response.json()["error"]["code"]) == (502, 502)
        assert (shop.last.state, shop.last.charged, shop.holds) == ("voided", 0, 0)

    @pytest.mark.parametrize("body", [b"[]", b'{"data": []}', b'{"data": [{"index": 0}]}'])
    def test_an_answer_without_vectors_costs_nothing(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, body: bytes
    ) -> None:
        upstream.script(fake.answer(body))

        assert client.post(PATH, json=ask()).status_code == 502
        assert (shop.last.charged, shop.holds) == (0, 0)


class TestHold:
    def test_bounds_the_tokens_of_every_prompt(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        """A context length bounds one prompt; thirty of them may be longer together."""
        upstream.script(vectors(*[[1.0]] * 30, tokens=2900))

        client.post(PATH, json=ask(input=["x" * 99] * 30))

        assert (shop.last.hold, shop.last.charged) == (2_970_000, 2_900_000)
        assert shop.last.uncollected == 0

    def test_counts_tokens_that_come_as_numbers(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(vectors([1.0], tokens=None))

        client.post(PATH, json=ask(input=[1, 2, 3]))

        assert shop.last.charged == 3_000


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"input": ""}, "input"),
            ({"input": []}, "input"),
            ({"input": ["a", ""]}, "input"),
            ({"input": ["a", 1]}, "input"),
            ({"input": [1, -1]}, "input"),
            ({"input": [[1], ["a"]]}, "input"),
            ({"input": [True]}, "input"),
            ({"input": ["a"] * 2049}, "input"),
            ({"input": None}, "input"),
            ({"dimensions": 0}, "dimensions"),
            ({"encoding_format": "hex"}, "encoding_format"),
        ],
    )
    def test_a_bad_field_is_named_and_reaches_nobody(
        self,
        client: httpx.Client,
        upstream: FakeUpstream,
        shop: Shop,
        fields: dict[str, Any],
        param: str,
    ) -> None:
        response = client.post(PATH, json=ask(**fields))

        error = response.json()["error"]
        assert (response.status_code, error["reason"], error["param"]) == (
            400,
            "invalid_parameter",
            param,
        )
        assert (upstream.calls, shop.usage) == ([], [])

    def test_a_chat_model_serves_no_embeddings(self, client: httpx.Client) -> None:
        response = client.post(PATH, json=ask(model="test/tokens"))

        assert response.json()["error"]["reason"] == "model_not_found"

    def test_needs_its_scope(self, gateway: GatewayServer, shop: Shop) -> None:
        with gateway.client(shop.secret) as client:
            response = client.post(PATH, json=ask())

        assert (response.status_code, response.json()["error"]["reason"]) == (403, "scope_missing")

    def test_more_than_10_mb_is_413(self, client: httpx.Client) -> None:
        assert client.post(PATH, json=ask(input="x" * 10 * 2**20)).status_code == 413

    def test_no_balance_is_402(self, client: httpx.Client, shop: Shop) -> None:
        shop.take("10")

        error = client.post(PATH, json=ask()).json()["error"]

        assert error["reason"] == "insufficient_balance"
        assert "max_tokens" not in error["message"]


class TestSandbox:
    def test_the_official_sdk_gets_the_same_vector_in_both_encodings(
        self, sandbox: SandboxServer, sdk: openai.OpenAI, shop: Shop
    ) -> None:
        """NG-12, NA-01: the SDK asks for base64 of its own accord and unpacks it."""
        packed = sdk.embeddings.create(model="sandbox/embedding", input="two words")
        plain = sdk.embeddings.create(
            model="sandbox/embedding", input="two words", encoding_format="float"
        )

        assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding)
        assert len(packed.data[0].embedding) == 16
        assert packed.usage.prompt_tokens == 2
        # 2 tokens at $0.10 per million.
        assert [row.charged for row in shop.usage] == [200, 200]

    def test_takes_lists_and_dimensions(self, sandbox: SandboxServer, sdk: openai.OpenAI) -> None:
        answer = sdk.embeddings.create(
            model="sandbox/embedding", input=["a b c", "d"], dimensions=64
        )

        assert [len(one.embedding) for one in answer.data] == [64, 64]
        assert [one.index for one in answer.data] == [0, 1]
        assert json.loads(answer.to_json())["usage"]["prompt_tokens"] == 4


def test_every_answer_has_its_attempt(
    client: httpx.Client, upstream: FakeUpstream, shop: Shop
) -> None:
    upstream.script(vectors([1.0]))

    response = client.post(PATH, json=ask())

    assert [one.outcome for one in shop.attempts(request_id(response))] == ["won"]
