from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from common import ids
from proxy import evidence
from proxy.catalogue import Provider
from proxy.evidence import Finding, Verdict
from proxy.wire.answers import Usage
from tests.fakes import upstream as fake
from tests.fakes.upstream import FakeUpstream


@pytest.fixture
def request_id() -> UUID:
    return ids.request_id()


def provider(url: str, lookup: str = "sandbox") -> Provider:
    return Provider(
        id=1,
        slug="p",
        kind="openai",
        base_url=f"{url}/v1",
        api_key="secret",
        on_disconnect="cancel",
        generation_lookup=lookup,
        rpm=None,
        concurrency=None,
    )


def look_up(asked: Provider, request_id: UUID, upstream_id: str = "") -> Finding:
    async def run() -> Finding:
        async with evidence.client() as lookups:
            return await evidence.look_up(
                lookups=lookups, provider=asked, request_id=request_id, upstream_id=upstream_id
            )

    return asyncio.run(run())


def generation(**fields: Any) -> fake.Reply:
    known = {
        "id": "x",
        "tokens_prompt": 5,
        "tokens_completion": 2,
        "finished": True,
        "cancelled": False,
    }
    return fake.answer({"data": known | fields})


@pytest.fixture
def upstream() -> Any:
    with FakeUpstream() as upstream:
        yield upstream


class TestLookUp:
    def test_it_asks_by_our_id_with_the_providers_key(
        self, upstream: FakeUpstream, request_id: UUID
    ) -> None:
        upstream.script(generation(), path="/generation")
        found = look_up(provider(upstream.url), request_id)
        assert found.verdict is Verdict.FOUND
        assert found.usage == Usage(input=5, cached=0, cache_write=0, output=2, reasoning=0)
        (call,) = upstream.calls
        assert call.path == f"/v1/generation?id={ids.form('req_', request_id)}"
        assert call.headers["authorization"] == "Bearer secret"

    @pytest.mark.parametrize(
        ("reply", "verdict"),
        [
            (generation(finished=False), Verdict.RUNNING),
            (generation(finished=False, cancelled=True), Verdict.FOUND),
            (fake.error(404), Verdict.ABSENT),
            (fake.error(501), Verdict.UNAVAILABLE),
            (fake.error(401), Verdict.TROUBLE),
            (fake.error(429), Verdict.TROUBLE),
            (fake.error(500), Verdict.TROUBLE),
            (fake.hang_up(), Verdict.TROUBLE),
            (fake.answer(b"<html>"), Verdict.TROUBLE),
            (fake.answer({"error": {}}), Verdict.TROUBLE),
            (generation(tokens_prompt=2**40), Verdict.TROUBLE),
            (generation(tokens_completion=1.5), Verdict.TROUBLE),
        ],
    )
    def test_each_answer_has_its_meaning(
        self, upstream: FakeUpstream, request_id: UUID, reply: fake.Reply, verdict: Verdict
    ) -> None:
        upstream.script(reply, path="/generation")
        assert look_up(provider(upstream.url), request_id).verdict is verdict

    def test_a_provider_that_is_away_proves_nothing(self, request_id: UUID) -> None:
        asked = provider(fake.unreachable_url())
        assert look_up(asked, request_id).verdict is Verdict.TROUBLE

    def test_a_provider_without_lookups_is_not_asked(
        self, upstream: FakeUpstream, request_id: UUID
    ) -> None:
        found = look_up(provider(upstream.url, "none"), request_id)
        assert found.verdict is Verdict.UNAVAILABLE
        assert upstream.calls == []

    def test_openrouter_is_asked_by_its_own_id(
        self, upstream: FakeUpstream, request_id: UUID
    ) -> None:
        body = {
            "id": "gen-1",
            "native_tokens_prompt": 10,
            "native_tokens_completion": 7,
            "native_tokens_cached": 4,
            "native_tokens_reasoning": 3,
            "cancelled": True,
        }
        upstream.script(fake.answer({"data": body}), path="/generation")
        asked = provider(upstream.url, "openrouter")
        assert look_up(asked, request_id).verdict is Verdict.UNAVAILABLE
        found = look_up(asked, request_id, "gen-1")
        assert found.usage == Usage(input=6, cached=4, cache_write=0, output=7, reasoning=3)
        assert not found.finished


class TestBillable:
    @pytest.mark.parametrize(
        ("output", "finished", "billable"),
        [(0, False, False), (0, True, True), (3, False, True), (3, True, True)],
    )
    def test_there_must_be_content_or_an_end(
        self, output: int, finished: bool, billable: bool
    ) -> None:
        usage = Usage(input=5, cached=0, cache_write=0, output=output, reasoning=0)
        finding = Finding(verdict=Verdict.FOUND, usage=usage, finished=finished)
        assert finding.billable is billable


class TestProven:
    def test_it_waits_a_moment_for_a_call_that_is_ending(
        self, upstream: FakeUpstream, request_id: UUID
    ) -> None:
        upstream.script(
            generation(finished=False),
            generation(finished=False, cancelled=True),
            path="/generation",
        )
        usage = asyncio.run(evidence.proven(provider=provider(upstream.url), request_id=request_id))
        assert usage is not None
        assert usage.output == 2

    @pytest.mark.parametrize(
        "reply", [generation(finished=False), fake.error(404), fake.error(500), fake.error(501)]
    )
    def test_otherwise_nothing_is_proven(
        self, upstream: FakeUpstream, request_id: UUID, reply: fake.Reply
    ) -> None:
        upstream.script(reply, path="/generation")
        asked = provider(upstream.url)
        assert asyncio.run(evidence.proven(provider=asked, request_id=request_id)) is None
