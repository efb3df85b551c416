"""What a process leaves behind of the streams that its end cuts, and what the sweep makes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.test import override_settings

from billing import invariants
from billing.pricing import Rates
from common import money
from proxy.models import Checkpoint, Provider, Route
from proxy.sweep import sweep
from tests.fakes import anthropic
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, hello
from tests.proxy.test_streams import SSE, chunk
from tests.proxy.upstreams.vendor import sell

SEARCH_NANOS = 10_000_000
PROMPT = {
    "input_tokens": 3,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 10,
    "output_tokens": 1,
}
OPENROUTER = {
    "id": "gen-7",
    "native_tokens_prompt": 10,
    "native_tokens_completion": 7,
    "native_tokens_cached": 4,
}


@pytest.fixture(autouse=True)
def _books(transactional_db: None) -> Iterator[None]:
    yield
    report = invariants.check()
    assert report.ok, report


@pytest.fixture
def searching(shop: Shop, add_model: AddModel) -> None:
    """``test/search`` costs $0.01 a search; one call makes three at most."""
    add_model("test/search", rates=Rates(web_search=money.pico_from_usd("0.01")))
    Route.objects.filter(model__slug="test/search").update(max_searches=3)


def cut(shop: Shop, upstream: FakeUpstream, **fields: Any) -> None:
    """Begin a stream, and let the gateway stop in the middle of it."""
    with override_settings(CHECKPOINT_S=60), GatewayServer(grace_s=0.1) as gateway:
        thread = threading.Thread(target=begin, args=(gateway, shop.secret, fields))
        thread.start()
        upstream.wait_for_stall()
        gateway.notice()
    thread.join()
    assert (shop.usage, shop.holds) == ([], 1)


def begin(gateway: GatewayServer, secret: str, fields: dict[str, Any]) -> None:
    with gateway.client(secret) as client:
        try:
            client.post("/v1/chat/completions", json=hello(stream=True, **fields))
        except httpx.TransportError:
            return


class TestCheckpoint:
    def test_what_was_told_of_a_prompt_is_charged_by_bucket(
        self, shop: Shop, add_model: AddModel
    ) -> None:
        with anthropic.FakeAnthropic() as claude:
            url = claude.base_url
            sell(add_model, kind="anthropic", base_url=url, new="claude-opus-5-5", old="old")
            spoken = anthropic.block_events(0, anthropic.text("x" * 40))[:-1]
            claude.script([SSE, anthropic.start(PROMPT), *spoken, fake.Stall()])
            cut(shop, claude, model="vendor/new")

        noted = Checkpoint.objects.get()
        sweep()

        assert noted.upstream_id
        row = shop.last
        assert (row.source, row.input_tokens, row.output_tokens) == ("checkpoint", 3, 10)
        assert row.stream
        assert (row.cached_tokens, row.cache_write_tokens) == (100, 10)
        assert row.charged == 3 * 3_000 + 100 * 300 + 10 * 3_750 + 10 * 15_000
        assert shop.attempts(row.id)[0].upstream_id == noted.upstream_id

    def test_only_searches_that_were_seen_are_charged_where_each_is_told(
        self, shop: Shop, add_model: AddModel
    ) -> None:
        with anthropic.FakeAnthropic() as claude:
            provider = Provider.objects.get()
            Provider.objects.update(kind="anthropic", base_url=claude.base_url)
            rates = Rates(web_search=money.pico_from_usd("0.01"))
            add_model("test/search", rates=rates, providers=(provider,))
            Route.objects.filter(model__slug="test/search").update(
                max_searches=3, upstream_model="claude-opus-5-5"
            )
            seen, _ = anthropic.searched("news", "https://a.example")
            spoken = anthropic.block_events(1, anthropic.text("word"))[:-1]
            told = [anthropic.start(PROMPT), *anthropic.block_events(0, seen), *spoken]
            claude.script([SSE, *told, fake.Stall()])
            cut(shop, claude, model="test/search", web_search_options={})

        sweep()

        assert (shop.last.source, shop.last.searches) == ("checkpoint", 1)
        assert shop.last.charged == SEARCH_NANOS

    def test_a_provider_is_asked_by_the_id_that_it_gave_before_any_content(
        self, shop: Shop, upstream: FakeUpstream
    ) -> None:
        Provider.objects.update(generation_lookup="openrouter")
        upstream.script([SSE, chunk("", id="gen-7"), fake.Stall()])
        upstream.script(fake.answer({"data": OPENROUTER}), path="/generation")
        cut(shop, upstream)

        sweep()

        assert upstream.calls[-1].path.endswith("/generation?id=gen-7")
        row = shop.last
        assert (row.source, row.input_tokens, row.cached_tokens) == ("lookup", 6, 4)
        assert row.output_tokens == 7
        assert shop.attempts(row.id)[0].upstream_id == "gen-7"

    def test_an_id_alone_is_no_evidence_until_its_provider_tells(
        self, shop: Shop, upstream: FakeUpstream
    ) -> None:
        upstream.script([SSE, chunk("", id="gen-7"), fake.Stall()])
        cut(shop, upstream)

        sweep()

        assert (shop.last.state, shop.last.unknown, shop.last.charged) == ("expired", True, 0)

        Provider.objects.update(generation_lookup="openrouter")
        upstream.script(fake.answer({"data": OPENROUTER}), path="/generation")
        sweep()

        assert upstream.calls[-1].path.endswith("/generation?id=gen-7")
        row = shop.last
        assert (row.state, row.cached_tokens, row.output_tokens) == ("late", 4, 7)

    def test_a_generation_that_is_not_listed_yet_has_to_wait(
        self, shop: Shop, upstream: FakeUpstream
    ) -> None:
        Provider.objects.update(generation_lookup="openrouter")
        upstream.script([SSE, chunk("", id="gen-7"), fake.Stall()])
        upstream.script(fake.error(404), fake.answer({"data": OPENROUTER}), path="/generation")
        cut(shop, upstream)

        first = sweep()
        second = sweep()

        assert (first.pending, second.settled) == (1, 1)

    def test_usage_told_in_the_middle_keeps_its_buckets(
        self, shop: Shop, upstream: FakeUpstream
    ) -> None:
        early = fake.usage(10, 1, prompt_tokens_details={"cached_tokens": 4})
        upstream.script([SSE, chunk("word", usage=early), chunk("x" * 100), fake.Stall()])
        cut(shop, upstream)

        sweep()

        row = shop.last
        assert (row.input_tokens, row.cached_tokens, row.output_tokens) == (6, 4, 26)


class TestSearchesThatNobodyTold:
    def test_are_all_that_were_held_and_an_estimate(
        self, shop: Shop, searching: None, upstream: FakeUpstream
    ) -> None:
        Provider.objects.update(generation_lookup="sandbox")
        told = {"tokens_prompt": 10, "tokens_completion": 3, "finished": True, "id": "x"}
        upstream.script([SSE, fake.Stall()])
        upstream.script(fake.answer({"data": told}), path="/generation")
        cut(shop, upstream, model="test/search", web_search_options={})

        sweep()

        assert (shop.last.source, shop.last.searches) == ("count", 3)
        assert shop.last.charged == 3 * SEARCH_NANOS

    def test_are_charged_when_evidence_comes_late(
        self, shop: Shop, searching: None, upstream: FakeUpstream
    ) -> None:
        told = {"tokens_prompt": 10, "tokens_completion": 3, "finished": True, "id": "x"}
        upstream.script([SSE, fake.Stall()])
        upstream.script(fake.answer({"data": told}), path="/generation")
        cut(shop, upstream, model="test/search", web_search_options={})
        sweep()
        unknown = (shop.last.state, shop.last.charged)
        Provider.objects.update(generation_lookup="sandbox")

        sweep()

        assert unknown == ("expired", 0)
        assert (shop.last.state, shop.last.charged) == ("late", 3 * SEARCH_NANOS)

    def test_of_a_call_that_asked_for_none_are_none(
        self, shop: Shop, searching: None, upstream: FakeUpstream
    ) -> None:
        upstream.script([SSE, chunk("word"), fake.Stall()])
        cut(shop, upstream, model="test/search")

        sweep()

        assert (shop.last.source, shop.last.searches, shop.last.charged) == ("checkpoint", 0, 0)
