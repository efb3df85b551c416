"""Wherever a stream is torn, what is charged is what the upstream's own log proves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import Usage
from proxy.models import Provider
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello, request_id

CHAT = "/v1/chat/completions"
# The model's price: $1 per million prompt tokens, $2 per million of the answer.
PROMPT_NANOS, OUTPUT_NANOS = 1_000, 2_000
WORDS = st.lists(st.text(alphabet="aя字🙂 \n", min_size=1, max_size=9), min_size=1, max_size=6)
FEW = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Proof:
    """What the bytes that an upstream sent tell, in whole events."""

    content_bytes: int = 0
    finished: bool = False
    usage: tuple[int, int] | None = None

    @property
    def output_tokens(self) -> int:
        """The estimate: four bytes a token."""
        return -(-self.content_bytes // 4)


def proof(sent: bytes) -> Proof:
    """Read an upstream's log."""
    size, finished, usage = 0, False, None
    for event in sent.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
        data = event.removeprefix(b"data: ")
        if data == b"[DONE]":
            continue
        chunk = json.loads(data)
        for choice in chunk["choices"]:
            size += len((choice["delta"].get("content") or "").encode())
            finished = finished or bool(choice["finish_reason"])
        if chunk.get("usage"):
            usage = (chunk["usage"]["prompt_tokens"], chunk["usage"]["completion_tokens"])
    return Proof(size, finished, usage)


def closed(response: httpx.Response) -> Usage:
    """Return the usage row of a call once there is one."""
    deadline = time.monotonic() + 30
    while (row := Usage.objects.filter(id=request_id(response)).first()) is None:
        assert time.monotonic() < deadline, "the call was not closed"
        time.sleep(0.01)
    return row


def check(row: Usage, proven: Proof) -> None:
    """Compare a bill with the proof."""
    if proven.usage is not None:
        prompt, output = proven.usage
        assert (row.source, row.input_tokens, row.output_tokens) == ("provider", prompt, output)
    elif proven.content_bytes or proven.finished:
        assert (row.source, row.output_tokens) == ("count", proven.output_tokens)
    else:
        assert (row.state, row.charged, row.status) == ("voided", 0, 502)
        return
    assert row.state == "settled"
    charge = row.input_tokens * PROMPT_NANOS + row.output_tokens * OUTPUT_NANOS
    assert (row.charged, row.uncollected) == (charge, 0)


@pytest.fixture
def caller(shop: Shop) -> Iterator[httpx.Client]:
    shop.key, shop.secret = shop.new_key(rpm=600)
    with GatewayServer() as gateway, gateway.client(shop.secret) as client:
        yield client


class TestChunkBoundaries:
    @FEW
    @given(words=WORDS, size=st.integers(1, 200), newline=st.sampled_from(["\n", "\r\n"]))
    def test_change_neither_the_answer_nor_the_charge(
        self,
        caller: httpx.Client,
        upstream: FakeUpstream,
        words: list[str],
        size: int,
        newline: str,
    ) -> None:
        reply = fake.stream(words, newline=newline)
        upstream.script(fake.in_pieces(reply, size, every_s=0))

        response = caller.post(CHAT, json=hello(stream=True))

        events = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        chunks = [json.loads(event) for event in events[:-1]]
        answer = [choice["delta"].get("content") or "" for c in chunks for choice in c["choices"]]
        assert "".join(answer) == "".join(words)
        check(closed(response), proof(fake.body_of(reply)))


class TestTheUpstreamBreaksOff:
    @FEW
    @given(words=WORDS, share=st.floats(0, 1), with_usage=st.booleans())
    def test_what_arrived_is_charged(
        self,
        caller: httpx.Client,
        shop: Shop,
        upstream: FakeUpstream,
        words: list[str],
        share: float,
        with_usage: bool,
    ) -> None:
        reply = fake.stream(words, with_usage=with_usage)
        body = fake.body_of(reply)
        size = max(1, round(share * len(body)))
        upstream.reset()
        upstream.script(fake.cut_at(reply, size, reset=False))

        response = caller.post(CHAT, json=hello(stream=True))

        proven = proof(body[:size])
        check(closed(response), proven)
        whole = proven.finished
        assert ("data: [DONE]" in response.text) is whole
        assert (response.status_code == 200) is bool(proven.content_bytes or whole)
        assert [call.sent for call in upstream.wait_for_calls(1, ended=True)] == [size]
        assert shop.holds == 0


class TestTheCallerHangsUp:
    @FEW
    @given(words=st.integers(20, 60), after=st.integers(1, 2000))
    def test_a_provider_that_cancels_is_paid_for_what_it_had_sent(
        self, shop: Shop, caller: httpx.Client, upstream: FakeUpstream, words: int, after: int
    ) -> None:
        row, seen, call = self._hang_up(caller, upstream, words, after)

        sent = proof(self._log(words)[: call.sent])
        if row.source == "provider":
            check(row, sent)
        else:
            assert seen.output_tokens <= row.output_tokens <= sent.output_tokens
            charge = row.input_tokens * PROMPT_NANOS + row.output_tokens * OUTPUT_NANOS
            assert (row.state, row.charged) == ("settled", charge)

    @FEW
    @given(words=st.integers(20, 60), after=st.integers(1, 2000))
    def test_a_provider_that_drains_is_paid_in_full(
        self, draining: httpx.Client, upstream: FakeUpstream, words: int, after: int
    ) -> None:
        row, _, call = self._hang_up(draining, upstream, words, after)

        log = self._log(words)
        assert call.sent == len(log)
        check(row, proof(log))

    @pytest.fixture(autouse=True)
    def _cancels(self, shop: Shop, request: pytest.FixtureRequest) -> None:
        drains = "draining" in request.fixturenames
        Provider.objects.update(on_disconnect="drain" if drains else "cancel")

    @pytest.fixture
    def draining(self, _cancels: None, caller: httpx.Client) -> httpx.Client:
        return caller

    def _log(self, words: int) -> bytes:
        return fake.body_of(fake.stream(["word "] * words))

    def _hang_up(
        self, caller: httpx.Client, upstream: FakeUpstream, words: int, after: int
    ) -> tuple[Usage, Proof, fake.Call]:
        """Leave after so many bytes; return the bill, what was seen, and the upstream's call."""
        upstream.reset()
        upstream.script(fake.stream(["word "] * words, every_s=0.004))
        seen = b""
        with (
            suppress(httpx.StreamError),
            caller.stream("POST", CHAT, json=hello(stream=True)) as response,
        ):
            for part in response.iter_raw():
                seen += part
                if len(seen) >= after:
                    break
        row = closed(response)
        [call] = upstream.wait_for_calls(1, ended=True)
        return row, proof(seen), call
