"""``/api/ds-prototypes`` through the real gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from accounts import workspaces
from accounts.models import Workspace
from billing import invariants
from billing.pricing import Rates
from common import redis as redis_clients
from proxy.models import Route
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, hello

URL = "/api/ds-prototypes/chat/completions"
HEALTH = "/api/ds-prototypes/health"
OPTIONAL = (
    "temperature",
    "max_tokens",
    "reasoning",
    "reasoning_effort",
    "tools",
    "tool_choice",
    "seed",
    "response_format",
    "web_search_options",
    "structured_outputs",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "stop",
    "stream",
)
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}}


@pytest.fixture
def models(shop: Shop, add_model: AddModel) -> None:
    add_model(
        "test/declares",
        rates=Rates(prompt=1_000_000, completion=1_000_000, web_search=1_000_000),
        capabilities=["repetition_penalty", "web_search", "reasoning"],
    )
    Route.objects.filter(model__slug="test/declares").update(max_searches=1)


@pytest.fixture(autouse=True)
def _books(transactional_db: None) -> Iterator[None]:
    yield
    report = invariants.check()
    assert report.ok, report


class TestChatCompletions:
    def test_the_two_headers_and_two_fields_are_enough(
        self, client: httpx.Client, shop: Shop, upstream: FakeUpstream
    ) -> None:
        """NF-01, NF-02: model and messages, Bearer and x-workspace-id; paid in dollars."""
        headers = {"x-workspace-id": shop.workspace.public_id}

        response = client.post(URL, json=hello(), headers=headers)

        assert response.status_code == 200, response.text
        body = response.json()
        assert body["choices"][0]["message"]["content"] == "hello from upstream"
        assert body["usage"]["total_tokens"] == 13
        assert response.headers["x-tollgate-provider"] == "first"
        assert (shop.last.asset, shop.last.surface) == ("USD", "prototypes")
        assert len(upstream.calls) == 1

    @pytest.mark.parametrize("missing", ["model", "messages"])
    def test_model_and_messages_are_required(self, client: httpx.Client, missing: str) -> None:
        """NF-02: an empty object does not stand for them."""
        for body in (
            {name: value for name, value in hello().items() if name != missing},
            hello() | {missing: {}},
        ):
            response = client.post(URL, json=body)
            assert (response.status_code, response.json()["error"]["param"]) == (400, missing)

    def test_a_workspace_that_the_key_does_not_carry_is_403(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NF-01: x-workspace-id is checked."""
        response = client.post(URL, json=hello(), headers={"x-workspace-id": "ws_other"})

        assert response.status_code == 403
        assert response.json()["error"]["reason"] == "workspace_forbidden"
        assert upstream.calls == []

    def test_an_empty_object_means_not_given(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NF-04: the reference's own example sends one for each optional field."""
        response = client.post(URL, json=hello() | {name: {} for name in OPTIONAL})

        assert response.status_code == 200, response.text
        assert "x-tollgate-ignored" not in response.headers
        assert not set(OPTIONAL) & upstream.calls[0].body.keys()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("temperature", {"a": 1}),
            ("temperature", "hot"),
            ("max_tokens", 0),
            ("stop", {"a": 1}),
            ("stream", "yes"),
            ("tools", {"type": "function"}),
            ("reasoning", {"effort": "enormous"}),
            ("reasoning", {"max_tokens": -1}),
            ("repetition_penalty", 3),
            ("structured_outputs", [1]),
            ("seed", 1.5),
        ],
    )
    def test_otherwise_the_types_are_those_of_v1(
        self, client: httpx.Client, upstream: FakeUpstream, name: str, value: Any
    ) -> None:
        """NF-03, NF-04: a wrong value is refused and named."""
        response = client.post(URL, json=hello() | {name: value})

        assert response.status_code == 400
        assert response.json()["error"]["param"].startswith(name)
        assert upstream.calls == []

    def test_ordinary_parameters_travel(self, client: httpx.Client, upstream: FakeUpstream) -> None:
        """NF-03: as on /v1."""
        sent = {
            "temperature": 0.5,
            "max_tokens": 50,
            "seed": 7,
            "frequency_penalty": 0.1,
            "presence_penalty": 0.2,
            "stop": ["a", "b"],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
            "tool_choice": "auto",
            "response_format": {"type": "json_object"},
        }

        assert client.post(URL, json=hello() | sent).status_code == 200
        assert sent.items() <= upstream.calls[0].body.items()

    @pytest.mark.parametrize("given", [SCHEMA, {"name": "named", "schema": SCHEMA, "strict": True}])
    def test_structured_outputs_is_a_json_schema(
        self, client: httpx.Client, upstream: FakeUpstream, given: dict[str, Any]
    ) -> None:
        """NF-03: it becomes a response_format."""
        assert client.post(URL, json=hello(structured_outputs=given)).status_code == 200

        body = upstream.calls[0].body
        described = given if "schema" in given else {"name": "output", "schema": SCHEMA}
        assert body["response_format"] == {"type": "json_schema", "json_schema": described}
        assert "structured_outputs" not in body

    def test_structured_outputs_and_response_format_exclude_each_other(
        self, client: httpx.Client
    ) -> None:
        """NF-03: they say the same."""
        both = hello(structured_outputs=SCHEMA, response_format={"type": "json_object"})

        assert client.post(URL, json=both).json()["error"]["param"] == "structured_outputs"

    @pytest.mark.parametrize(
        ("fields", "effort"),
        [
            ({"reasoning": {"effort": "high"}}, "high"),
            ({"reasoning": {"enabled": True}}, "medium"),
            ({"reasoning": {"enabled": False, "effort": "high"}}, "none"),
            ({"reasoning": {"max_tokens": 300}, "max_tokens": 500}, "high"),
            ({"reasoning": {"max_tokens": 100}, "max_tokens": 500}, "medium"),
            ({"reasoning": {"max_tokens": 10}, "max_tokens": 500}, "low"),
            ({"reasoning": {"max_tokens": 0}}, "none"),
            ({"reasoning_effort": "low"}, "low"),
            ({"reasoning_effort": "low", "reasoning": {"exclude": True}}, "low"),
            ({"reasoning": {"exclude": True}}, None),
        ],
    )
    def test_reasoning_is_said_in_openais_word(
        self,
        client: httpx.Client,
        upstream: FakeUpstream,
        fields: dict[str, Any],
        effort: str | None,
    ) -> None:
        """NF-03: reasoning {effort, max_tokens, enabled, exclude} and reasoning_effort."""
        assert client.post(URL, json=hello() | fields).status_code == 200

        body = upstream.calls[0].body
        assert body.get("reasoning_effort") == effort
        assert "reasoning" not in body

    def test_thoughts_can_be_left_out(self, client: httpx.Client, upstream: FakeUpstream) -> None:
        """NF-03: reasoning.exclude, whole and streamed."""
        message = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
        chunks: list[dict[str, Any] | str] = [
            fake.chunk({"reasoning_content": "Hm."}),
            fake.chunk({"content": "Yes."}),
            fake.chunk({}, finish_reason="stop"),
        ]
        cases: list[tuple[dict[str, Any], bool]] = [
            ({}, True),
            ({"reasoning": {"exclude": True}}, False),
        ]
        for fields, seen in cases:
            upstream.script(fake.completion(message=message), fake.events(chunks))
            whole = client.post(URL, json=hello() | fields).text
            streamed = client.post(URL, json=hello(stream=True) | fields).text
            assert "Yes." in whole
            assert "Yes." in streamed
            assert ("Hm." in whole, "Hm." in streamed) == (seen, seen)

    def test_some_parameters_go_to_models_that_declare_them(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        """NF-03: repetition_penalty and web_search_options."""
        silent = client.post(URL, json=hello(repetition_penalty=1.1))
        refused = client.post(URL, json=hello(web_search_options={"search_context_size": "low"}))
        both = {"repetition_penalty": 1.1, "web_search_options": {"search_context_size": "low"}}
        declared = client.post(URL, json=hello("test/declares") | both)

        assert silent.headers["x-tollgate-ignored"] == "repetition_penalty"
        assert "repetition_penalty" not in upstream.calls[0].body
        assert refused.json()["error"]["reason"] == "unpriced_parameter"
        assert declared.status_code == 200, declared.text
        assert "x-tollgate-ignored" not in declared.headers
        assert both.items() <= upstream.calls[1].body.items()

    def test_it_streams(self, client: httpx.Client) -> None:
        """NF-03: stream."""
        response = client.post(URL, json=hello(stream=True))

        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.text.endswith("data: [DONE]\n\n")


class TestHealth:
    def test_is_ok_and_free(self, client: httpx.Client, shop: Shop) -> None:
        """NF-05: with the same two headers."""
        headers = {"x-workspace-id": shop.workspace.public_id}

        response = client.get(HEALTH, headers=headers)

        assert (response.status_code, response.json()) == (200, {"status": "ok"})
        assert (shop.usage, shop.holds) == ([], 0)

    def test_without_a_key_is_401(self, gateway: GatewayServer) -> None:
        """NF-05: it is no public page."""
        with gateway.client() as nobody:
            assert nobody.get(HEALTH).status_code == 401

    def test_for_a_foreign_workspace_is_403(self, client: httpx.Client, shop: Shop) -> None:
        """NF-05: also where the workspace exists."""
        other = Workspace.objects.exclude(pk=shop.workspace.pk).first()
        other = other or workspaces.create(name="Other", owner=shop.user)

        response = client.get(HEALTH, headers={"x-workspace-id": other.public_id})

        assert response.status_code == 403

    def test_is_503_while_not_ready(self, client: httpx.Client, settings: Settings) -> None:
        """NF-05: a store is away."""
        settings.REDIS_URL = "redis://127.0.0.1:9/0"
        redis_clients.client.cache_clear()
        try:
            response = client.get(HEALTH)
        finally:
            redis_clients.client.cache_clear()

        assert response.status_code == 503
        assert response.json()["error"]["reason"] == "store_unavailable"
        assert "redis" in response.json()["error"]["message"]
