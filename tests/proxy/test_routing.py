"""Which routes serve a call, in which order: what callers ask in ``provider``."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from accounts.keyrecord import KeyRecord
from billing.pricing import Rates
from common import money
from common.errors import ApiError
from proxy import routing
from proxy.breakers import FAILURES, Breakers
from proxy.catalogue import Catalogue, Model, Provider, Route
from proxy.models import Route as RouteRow
from proxy.wire import chat, images, responses
from proxy.wire.call import BadRequest
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, hello, make_provider

KEY = KeyRecord(
    id=1,
    public_id="key_1",
    version=1,
    kind="standard",
    scopes=frozenset({"chat"}),
    models=None,
    rpm=None,
    ips=(),
    expires_at=None,
    disabled=False,
    deleted=False,
    owner_active=True,
    user_id=1,
    service_account_id=None,
    workspaces=(),
)
# USD per million tokens.
PRICES = {"cheap": (1, 2), "middle": (2, 4), "dear": (4, 8)}


def usd(prompt: int, completion: int, **more: Any) -> Rates:
    return Rates(prompt=prompt * 10**6, completion=completion * 10**6, **more)


def route(number: int, slug: str, rates: Rates, *, kind: str = "openai", **terms: Any) -> Route:
    provider = Provider(
        id=number,
        slug=slug,
        kind=kind,
        base_url="http://up",
        api_key="",
        on_disconnect="cancel",
        generation_lookup="none",
        rpm=None,
        concurrency=None,
    )
    fields: dict[str, Any] = {"priority": 0, "max_stop": None, "cost_price_id": None} | terms
    return Route(
        id=number,
        provider=provider,
        upstream_model="up",
        price_id=number,
        rates=rates,
        cost_rates=Rates(),
        **fields,
    )


def model(slug: str, *routes: Route, kind: str = "chat", **terms: Any) -> Model:
    fields: dict[str, Any] = {"unsupported": frozenset(), "capabilities": frozenset()} | terms
    return Model(
        id=1,
        slug=slug,
        aliases=(),
        name=slug,
        owned_by="tests",
        kind=kind,
        context_length=8000,
        max_output_tokens=1000,
        max_image_tokens=0,
        prompt_overhead_tokens=0,
        output_limit="max_tokens",
        created=0,
        price_id=1,
        rates=routes[0].rates,
        routes=routes,
        **fields,
    )


def three() -> Model:
    ways = [route(n, slug, usd(*PRICES[slug])) for n, slug in enumerate(PRICES, start=1)]
    return model("m", *ways)


def offered(
    *models: Model, breakers: Breakers | None = None, surface: Any = chat, **fields: Any
) -> list[str]:
    """Return the providers that a call may go to, in order."""
    named = {each.slug: each for each in models or (three(),)}
    usual: dict[str, Any] = {"model": next(iter(named))}
    usual |= {"messages": [{"role": "user", "content": "hello"}]} if surface is chat else {}
    catalogue = Catalogue(version=1, models=named, names=named, providers={}, next_change_at=None)
    offer = routing.offer(
        catalogue=catalogue,
        key=KEY,
        call=surface.parse(json.dumps(usual | fields).encode()),
        breakers=breakers or Breakers(),
        may_clamp=True,
    )
    return [leg.provider.slug for leg in offer.legs]


def refusal(*models: Model, **fields: Any) -> tuple[str, str | None]:
    try:
        told = offered(*models, **fields)
    except (ApiError, BadRequest) as refused:
        return refused.reason, refused.param
    raise AssertionError(told)


class TestPreferences:
    def test_without_any_the_cheapest_goes_first(self) -> None:
        assert offered() == ["cheap", "middle", "dear"]

    def test_order_goes_first_and_the_others_follow(self) -> None:
        assert offered(provider={"order": ["dear", "nobody"]}) == ["dear", "cheap", "middle"]

    def test_only_leaves_the_others_out(self) -> None:
        assert offered(provider={"only": ["dear", "middle"]}) == ["middle", "dear"]
        assert refusal(provider={"only": ["nobody"]}) == ("invalid_parameter", "provider")

    def test_ignore_leaves_those_out(self) -> None:
        assert offered(provider={"ignore": ["cheap"]}) == ["middle", "dear"]

    def test_without_fallbacks_only_the_first_is_left(self) -> None:
        assert offered(provider={"allow_fallbacks": False}) == ["cheap"]
        assert offered(provider={"allow_fallbacks": False, "order": ["dear"]}) == ["dear"]

    def test_require_parameters_leaves_out_what_does_not_take_them(self) -> None:
        claude = route(1, "claude", usd(1, 1), kind="anthropic")
        both = model("m", claude, route(2, "other", usd(2, 2)))

        assert offered(both, seed=1) == ["claude", "other"]
        assert offered(both, seed=1, provider={"require_parameters": True}) == ["other"]
        lacking = model("m", claude)
        asked: dict[str, Any] = {"provider": {"require_parameters": True}, "seed": 1}
        assert refusal(lacking, **asked) == ("unsupported_parameter", "seed")

    @pytest.mark.parametrize(
        ("ceiling", "left"),
        [
            ({"prompt": 2}, ["cheap", "middle"]),
            ({"prompt": 2.0, "completion": None}, ["cheap", "middle"]),
            ({"prompt": "1.5"}, ["cheap"]),
            ({"prompt": 1.0, "completion": 2}, ["cheap"]),
            ({"completion": "7.999999"}, ["cheap", "middle"]),
            ({"request": 0, "image": 0, "audio": 0}, ["cheap", "middle", "dear"]),
            ({}, ["cheap", "middle", "dear"]),
        ],
    )
    def test_max_price_is_numbers_or_text_in_usd_per_million(
        self, ceiling: dict[str, Any], left: list[str]
    ) -> None:
        assert offered(provider={"max_price": ceiling}) == left

    def test_max_price_of_a_request_and_of_a_picture(self) -> None:
        calls = model("m", route(1, "fee", usd(0, 0, per_call=money.pico_from_usd("0.02"))))
        prices = {"1024x1024": {"low": money.pico_from_usd("0.01")}}
        dear = {"1024x1024": {"low": money.pico_from_usd("0.02")}}
        shop = model(
            "m",
            route(1, "a", Rates(image=prices)),
            route(2, "b", Rates(image=dear)),
            kind="image",
        )
        picture: dict[str, Any] = {
            "surface": images,
            "prompt": "x",
            "quality": "low",
            "size": "1024x1024",
        }

        assert offered(calls, provider={"max_price": {"request": 0.02}}) == ["fee"]
        assert refusal(calls, provider={"max_price": {"request": "0.019"}})[1] == "provider"
        assert offered(shop, provider={"max_price": {"image": "0.01"}}, **picture) == ["a"]

    @pytest.mark.parametrize("price", ["much", "0.0000001", 1e-9])
    def test_max_price_that_is_no_price_is_refused(self, price: Any) -> None:
        told = refusal(provider={"max_price": {"prompt": price}})

        assert told == ("invalid_parameter", "provider.max_price.prompt")

    @pytest.mark.parametrize(
        ("wish", "param"),
        [
            ({"data_collection": "deny"}, "provider.data_collection"),
            ({"zdr": True}, "provider.zdr"),
            ({"quantizations": ["int4"]}, "provider.quantizations"),
            ({"orders": ["x"]}, "provider.orders"),
        ],
    )
    def test_what_nobody_here_can_promise_is_refused(
        self, wish: dict[str, Any], param: str
    ) -> None:
        assert refusal(provider=wish) == ("unsupported_parameter", param)

    def test_what_asks_for_nothing_is_taken(self) -> None:
        assert offered(provider={"data_collection": "allow", "zdr": False, "order": None})


class TestSort:
    def test_by_price_is_what_is_done_anyway(self) -> None:
        assert offered(provider={"sort": "price"}) == ["cheap", "middle", "dear"]

    @pytest.mark.parametrize("sort", ["latency", {"by": "latency"}])
    def test_by_latency_the_quickest_first_byte_goes_first(self, sort: Any) -> None:
        shop, known = three(), Breakers()
        for way, ms in zip(shop.routes, (300, 100, 200), strict=True):
            known.paces.note(way, latency_ms=900, output_tokens=90, first_byte_ms=ms)

        told = offered(shop, breakers=known, provider={"sort": sort})

        assert told == ["middle", "dear", "cheap"]

    def test_by_throughput_the_most_tokens_a_second_go_first(self) -> None:
        shop, known = three(), Breakers()
        for way, tokens in zip(shop.routes, (100, 300, 200), strict=True):
            known.paces.note(way, latency_ms=1000, output_tokens=tokens, first_byte_ms=None)

        told = offered(shop, breakers=known, provider={"sort": "throughput"})

        assert told == ["middle", "dear", "cheap"]

    @pytest.mark.parametrize("sort", ["latency", "throughput"])
    def test_what_was_not_measured_goes_first_to_be_measured(self, sort: str) -> None:
        shop, known = three(), Breakers()
        for way in shop.routes[:2]:
            known.paces.note(way, latency_ms=1000, output_tokens=100, first_byte_ms=10)

        assert offered(shop, breakers=known, provider={"sort": sort})[0] == "dear"

    def test_health_goes_before_pace(self) -> None:
        shop, known = three(), Breakers()
        for way in shop.routes:
            known.paces.note(way, latency_ms=9, output_tokens=9, first_byte_ms=way.id)
        for _ in range(FAILURES):
            known.note(shop.routes[0], failed=True)

        told = offered(shop, breakers=known, provider={"sort": "latency"})

        assert told == ["middle", "dear", "cheap"]

    def test_routes_are_sorted_within_a_model_or_across_all(self) -> None:
        first = model("m", route(1, "a", usd(5, 5)), route(2, "b", usd(6, 6)))
        second = model("n", route(3, "c", usd(1, 1)))
        both: dict[str, Any] = {"models": ["n"]}
        across = {"sort": {"by": "price", "partition": "none"}}

        assert offered(first, second, provider={"sort": {"by": "price"}}, **both) == ["a", "b", "c"]
        assert offered(first, second, provider=across, **both) == ["c", "a", "b"]

    @pytest.mark.parametrize(
        ("sort", "param"),
        [
            ("speed", "provider.sort"),
            ({"by": "speed"}, "provider.sort.by"),
            ({}, "provider.sort.by"),
        ],
    )
    def test_by_anything_else_is_refused(self, sort: Any, param: str) -> None:
        assert refusal(provider={"sort": sort}) == ("invalid_parameter", param)


class TestTheOutputLimit:
    @pytest.mark.parametrize(
        ("surface", "name"),
        [
            (chat, "max_tokens"),
            (chat, "max_completion_tokens"),
            (responses, "max_output_tokens"),
        ],
    )
    def test_beyond_the_models_own_is_refused_by_the_callers_name(
        self, surface: Any, name: str
    ) -> None:
        asked: dict[str, Any] = {"surface": surface, name: 1000}
        if surface is responses:
            asked["input"] = "hello"

        assert offered(**asked)
        assert refusal(**asked | {name: 1001}) == ("invalid_parameter", name)


class TestSearches:
    PRICED = usd(1, 1, web_search=10**10)
    ASKED: dict[str, Any] = {"web_search_options": {}}

    def test_a_route_without_a_bound_is_refused(self) -> None:
        told = refusal(model("m", route(1, "a", self.PRICED)), **self.ASKED)

        assert told == ("unpriced_parameter", "web_search_options")

    def test_a_bound_that_the_provider_keeps_is_one_by_default(self) -> None:
        ways = (
            route(1, "claude", self.PRICED, kind="anthropic"),
            route(2, "declared", self.PRICED, max_searches=4),
        )

        assert offered(model("m", *ways), **self.ASKED) == ["claude", "declared"]

    def test_gemini_takes_no_bound_so_it_needs_one_declared(self) -> None:
        ways = (
            route(1, "g", self.PRICED, kind="gemini"),
            route(2, "declared", self.PRICED, kind="gemini", max_searches=4),
        )

        assert offered(model("m", *ways), **self.ASKED) == ["declared"]


@pytest.fixture
def searching(shop: Shop, add_model: AddModel) -> None:
    add_model("test/search", rates=Rates(web_search=money.pico_from_usd("0.01")))
    add_model("test/found", rates=usd(1, 2, web_search=money.pico_from_usd("0.01")))
    RouteRow.objects.update(max_searches=3)


class TestThroughTheGateway:
    @pytest.mark.parametrize(
        ("usage", "searches"),
        [
            ({}, 3),
            ({"server_tool_use": {"web_search_requests": 2}}, 2),
            ({"num_search_queries": 0}, 0),
            ({"server_tool_use": {"web_search_requests": 5}}, 5),
        ],
    )
    def test_searches_are_held_at_their_bound_and_charged_as_told(
        self,
        shop: Shop,
        searching: None,
        client: httpx.Client,
        upstream: FakeUpstream,
        usage: dict[str, Any],
        searches: int,
    ) -> None:
        upstream.script(fake.completion("found", with_usage=False, usage=fake.usage(10, 3) | usage))

        response = client.post(
            "/v1/chat/completions", json=hello("test/search", web_search_options={})
        )

        assert response.status_code == 200, response.text
        row = shop.last
        held = 3 * 10_000_000
        assert (row.hold, row.searches) == (held, searches)
        assert row.charged == min(held, searches * 10_000_000)
        assert row.cost == searches * 10_000_000

    def test_what_searches_find_is_held_and_a_clamp_leaves_room_for_them(
        self,
        shop: Shop,
        searching: None,
        client: httpx.Client,
        upstream: FakeUpstream,
    ) -> None:
        # Three searches and four prompts of up to 8000 tokens: $0.054 and the words of the first.
        shop.take("9.945")

        def dearest(call: fake.Call) -> fake.Reply:
            usage = fake.usage(3 * 8000 + 20, call.body["max_tokens"])
            told = usage | {"server_tool_use": {"web_search_requests": 3}}
            return fake.completion("found", with_usage=False, usage=told)

        upstream.script(dearest)
        body = hello("test/found", web_search_options={})

        response = client.post("/v1/chat/completions", json=body)

        assert response.status_code == 200, response.text
        limit = int(response.headers["x-tollgate-max-tokens"])
        assert 256 <= limit < 500
        row = shop.last
        assert row.hold == 55_000_000
        assert row.charged == row.cost <= row.hold

    def test_a_wish_that_is_not_followed_is_a_parameter_that_no_route_takes(self) -> None:
        wish = {"preferred_max_latency": 1, "require_parameters": True}

        told = refusal(provider=wish)

        assert told == ("unsupported_parameter", "provider.preferred_max_latency")

    def test_a_wish_that_is_not_followed_is_named(self, client: httpx.Client) -> None:
        wish = {"preferred_min_throughput": 50}
        response = client.post("/v1/chat/completions", json=hello(provider=wish))

        assert response.headers["x-tollgate-ignored"] == "provider.preferred_min_throughput"

    @pytest.mark.parametrize(
        ("sent", "ignored"),
        [
            ({"sandbox": {"delay_ms": 1}}, "sandbox"),
            ({"async": True}, "async"),
            ({"async": False}, None),
            ({"stream_options": {"include_usage": True}}, "stream_options"),
        ],
    )
    def test_what_changes_nothing_here_is_named(
        self, client: httpx.Client, upstream: FakeUpstream, sent: dict[str, Any], ignored: str
    ) -> None:
        response = client.post("/v1/chat/completions", json=hello(**sent))

        assert response.headers.get("x-tollgate-ignored") == ignored
        assert sent.keys().isdisjoint(upstream.calls[-1].body)

    @pytest.mark.parametrize("name", ["sandbox", "async"])
    def test_what_changes_nothing_can_be_refused(self, name: str) -> None:
        fields = {name: {"delay_ms": 1} if name == "sandbox" else True}

        told = refusal(**fields, provider={"require_parameters": True})

        assert told == ("unsupported_parameter", name)

    def test_every_answer_is_measured(
        self, shop: Shop, add_model: AddModel, upstream: FakeUpstream
    ) -> None:
        with FakeUpstream() as second:
            slow = [fake.Pause(1.0), *fake.stream(["hello"] * 10)]
            upstream.script(slow)
            second.script(fake.stream(["hello"] * 10))
            other = make_provider("second", second.base_url)
            first = make_provider("slow", upstream.base_url)
            add_model("test/two", rates=Rates(prompt=1), providers=(first, other))
            ask = hello("test/two", stream=True, provider={"sort": "latency"})
            with GatewayServer() as gateway, gateway.client(shop.secret) as client:
                told = [
                    client.post("/v1/chat/completions", json=ask).headers["x-tollgate-provider"]
                    for _ in range(4)
                ]

        assert told == ["slow", "second", "second", "second"]

    def test_how_an_answer_ended_is_on_its_receipt(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        for stream in (False, True):
            answer = client.post("/v1/chat/completions", json=hello(stream=stream))
            told = client.get("/v1/generation", params={"id": answer.headers["x-request-id"]})
            assert told.json()["data"]["finish_reason"] == "stop"
