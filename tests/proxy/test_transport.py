"""Calls to providers over real sockets: what is sent, what comes, and what can rest."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from pytest_django import Settings

from proxy.transport import Transport
from proxy.upstreams import trouble
from proxy.upstreams.posting import post
from tests.fakes import upstream as fake
from tests.fakes.upstream import FakeUpstream


def call(base_url: str, *, read_s: float = 5.0) -> httpx.Request:
    """Return a call of a provider."""
    made = post(
        base_url=base_url,
        path="chat/completions",
        body={"model": "m", "messages": []},
        stream=True,
        request_id="req_1",
        headers={"authorization": "Bearer secret"},
    )
    made.extensions = {"timeout": {"connect": 2.0, "read": read_s, "pool": 2.0}}
    return made


class TestSend:
    def test_sends_the_headers_and_the_body_and_gives_the_answer(self) -> None:
        async def scenario() -> tuple[int, bytes]:
            transport = Transport()
            answer = await transport.send(call(upstream.base_url))
            body = b"".join([part async for part in answer.body])
            await answer.body.aclose()
            await transport.aclose()
            return answer.status_code, body

        with FakeUpstream() as upstream:
            upstream.script([fake.Head(207), b"one ", b"two"])
            assert asyncio.run(scenario()) == (207, b"one two")
            [seen] = upstream.calls
        assert seen.headers["authorization"] == "Bearer secret"
        assert seen.headers["x-request-id"] == "req_1"
        assert seen.body == {"model": "m", "messages": []}

    def test_a_provider_that_cannot_be_reached_is_a_transport_error(self) -> None:
        async def scenario() -> None:
            transport = Transport()
            try:
                await transport.send(call(fake.unreachable_url()))
            finally:
                await transport.aclose()

        with pytest.raises(httpx.TransportError):
            asyncio.run(scenario())

    def test_silence_is_a_timeout(self) -> None:
        async def scenario() -> None:
            transport = Transport()
            try:
                await transport.send(call(upstream.base_url, read_s=0.1))
            finally:
                await transport.aclose()

        with FakeUpstream() as upstream:
            upstream.script([fake.Stall()])
            with pytest.raises(httpx.TimeoutException):
                asyncio.run(scenario())

    def test_a_call_that_finds_no_connection_free_says_so_and_the_next_one_finds_it(
        self, settings: Settings
    ) -> None:
        async def scenario() -> int:
            transport = Transport()
            first = await transport.send(call(upstream.base_url))
            hasty = call(upstream.base_url)
            hasty.extensions = {"timeout": {"connect": 2.0, "read": 2.0, "pool": 0.05}}
            with pytest.raises(httpx.PoolTimeout) as refused:
                await transport.send(hasty)
            assert trouble.unreachable(refused.value).limited, "our limit is not its failure"
            await first.body.aclose()
            await first.body.aclose()
            second = await transport.send(call(upstream.base_url))
            assert transport.free.locked(), "closing twice frees one connection"
            await second.body.aclose()
            await transport.aclose()
            return second.status_code

        settings.UPSTREAM_CONNECTIONS = 1
        with FakeUpstream() as upstream:
            upstream.script([fake.Head(), b"one"])
            upstream.script([fake.Head(), b"two"])
            assert asyncio.run(scenario()) == 200


class TestBody:
    def test_what_comes_while_it_rests_comes_when_it_goes_on(self) -> None:
        async def scenario() -> tuple[bytes, bool, bytes]:
            transport = Transport()
            body = (await transport.send(call(upstream.base_url))).body
            parts = aiter(body)
            first = await anext(parts)
            body.rest()
            resting.set()
            rest = asyncio.ensure_future(anext(parts))
            done, _ = await asyncio.wait({rest}, timeout=0.3)
            body.go_on()
            second = await rest
            await body.aclose()
            await transport.aclose()
            return first, bool(done), second

        resting = threading.Event()
        with FakeUpstream() as upstream:
            upstream.script([fake.Head(), b"one", fake.Gate(resting), b"two", fake.Stall()])
            assert asyncio.run(scenario()) == (b"one", False, b"two")

    def test_one_that_has_ended_can_rest_as_well(self) -> None:
        async def scenario() -> list[bytes]:
            transport = Transport()
            body = (await transport.send(call(upstream.base_url))).body
            parts = [part async for part in body]
            body.rest()
            body.go_on()
            await body.aclose()
            await transport.aclose()
            return parts

        with FakeUpstream() as upstream:
            upstream.script([fake.Head(), b"one"])
            assert asyncio.run(scenario()) == [b"one"]
