"""Wherever a stream of Anthropic's or Gemini's is torn, its log proves what is charged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Rates
from tests.fakes import anthropic, gemini
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import AddModel, Shop, hello, make_provider
from tests.proxy.test_stream_properties import CHAT, FEW, WORDS, Proof, check, closed

PROMPT_TOKENS, OUTPUT_TOKENS = 12, 7
TOOL, ARGUMENTS = "weather", {"city": "Köln 🙂"}


class Anthropic:
    """Anthropic's streams: blocks, each begun, told in pieces, and ended."""

    kind = "anthropic"
    base = "/v1"

    def stream(self, words: list[str]) -> list[bytes]:
        """Return a stream's events: thoughts, then words, then a tool's use."""
        usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": OUTPUT_TOKENS}
        blocks = [anthropic.thinking("hmm…"), *map(anthropic.text, words)]
        blocks.append(anthropic.tool_use("toolu_1", TOOL, **ARGUMENTS))
        return [step for step in anthropic.events(blocks, usage) if isinstance(step, bytes)]

    def proof(self, sent: bytes) -> Proof:
        """Read a log."""
        size, finished, usage = 0, False, None
        for block in sent.split(b"\n\n")[:-1]:
            event = json.loads(block.partition(b"data: ")[2])
            begun = event.get("content_block", {})
            delta = event.get("delta", {})
            for text in ("text", "thinking", "partial_json"):
                size += len(delta.get(text, "").encode())
            size += len(begun.get("name", "").encode())
            if event["type"] == "message_delta":
                finished = True
                usage = (event["usage"]["input_tokens"], event["usage"]["output_tokens"])
        return Proof(size, finished, usage)

    def early(self, fresh: int, *, cached: int) -> list[bytes]:
        """Return the beginning of a stream that told of its prompt, and then "hello world"."""
        usage = {"input_tokens": fresh, "cache_read_input_tokens": cached}
        words = anthropic.block_events(0, anthropic.text("hello world"))
        return [anthropic.start(usage), *(step for step in words if isinstance(step, bytes))]


class Gemini:
    """Gemini's streams: whole answers, one after the other, and no event that ends them."""

    kind = "gemini"
    base = "/v1beta"

    def stream(self, words: list[str]) -> list[bytes]:
        """Return a stream's events: thoughts, then words, then a function's call."""
        parts = [gemini.text("hmm…", thought=True), *map(gemini.text, words)]
        parts.append(gemini.function_call(TOOL, id_="fc-1", **ARGUMENTS))
        counts = {"promptTokenCount": PROMPT_TOKENS, "candidatesTokenCount": OUTPUT_TOKENS}
        events = gemini.events(*parts, usage=gemini.usage(**counts))
        return [step for step in events if isinstance(step, bytes)]

    def proof(self, sent: bytes) -> Proof:
        """Read a log."""
        size, finished, usage = 0, False, None
        for block in sent.split(b"\r\n\r\n")[:-1]:
            event = json.loads(block.removeprefix(b"data: "))
            [candidate] = event["candidates"]
            for part in candidate["content"]["parts"]:
                size += len(part.get("text", "").encode())
                if call := part.get("functionCall"):
                    args = json.dumps(call["args"], ensure_ascii=False, separators=(",", ":"))
                    size += len((call["name"] + args).encode())
            if candidate.get("finishReason"):
                told = event["usageMetadata"]
                finished = True
                usage = (told["promptTokenCount"], told["candidatesTokenCount"])
        return Proof(size, finished, usage)

    def early(self, fresh: int, *, cached: int) -> list[bytes]:
        """Return the beginning of a stream that told of its prompt, and then "hello world"."""
        usage = {"promptTokenCount": fresh + cached, "cachedContentTokenCount": cached}
        words = gemini.chunk(gemini.text("hello world"), usageMetadata=usage)
        return [gemini.event(words)]


Vendor = Anthropic | Gemini


@pytest.fixture(params=[Anthropic(), Gemini()], ids=lambda vendor: vendor.kind)
def vendor(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def caller(
    shop: Shop, add_model: AddModel, upstream: FakeUpstream, vendor: Vendor
) -> Iterator[httpx.Client]:
    provider = make_provider(
        vendor.kind, f"{upstream.url}{vendor.base}", kind=vendor.kind, on_disconnect="cancel"
    )
    rates = Rates(prompt=1_000_000, completion=2_000_000, cached_prompt=100_000)
    add_model("test/native", rates=rates, providers=(provider,))
    _, secret = shop.new_key(rpm=600)
    with GatewayServer() as gateway, gateway.client(secret) as client:
        yield client


def content_bytes(text: str) -> int:
    """Count the bytes of what a caller was told, in whole events."""
    size = 0
    for event in text.split("\n\n")[:-1]:
        data = event.removeprefix("data: ")
        if data == "[DONE]" or event.startswith(":"):
            continue
        for choice in json.loads(data)["choices"]:
            delta = choice["delta"]
            size += len(((delta.get("content") or "") + (delta.get("reasoning") or "")).encode())
            for call in delta.get("tool_calls", ()):
                function = call["function"]
                size += len((function.get("name", "") + function.get("arguments", "")).encode())
    return size


class TestChunkBoundaries:
    @FEW
    @given(words=WORDS, size=st.integers(1, 400))
    def test_change_neither_the_answer_nor_the_charge(
        self,
        caller: httpx.Client,
        upstream: FakeUpstream,
        vendor: Vendor,
        words: list[str],
        size: int,
    ) -> None:
        events = vendor.stream(words)
        upstream.script(fake.in_pieces([fake.STREAM_HEAD, *events], size, every_s=0))

        response = caller.post(CHAT, json=hello("test/native", stream=True))

        proven = vendor.proof(b"".join(events))
        assert response.text.endswith("data: [DONE]\n\n")
        assert content_bytes(response.text) == proven.content_bytes
        assert proven.usage == (PROMPT_TOKENS, OUTPUT_TOKENS)
        check(closed(response), proven)


class TestTheUpstreamBreaksOff:
    @FEW
    @given(words=WORDS, share=st.floats(0, 1))
    def test_what_arrived_is_charged(
        self,
        caller: httpx.Client,
        shop: Shop,
        upstream: FakeUpstream,
        vendor: Vendor,
        words: list[str],
        share: float,
    ) -> None:
        reply: fake.Reply = [fake.STREAM_HEAD, *vendor.stream(words)]
        body = fake.body_of(reply)
        size = max(1, round(share * len(body)))
        upstream.reset()
        upstream.script(fake.cut_at(reply, size, reset=False))

        response = caller.post(CHAT, json=hello("test/native", stream=True))

        proven = vendor.proof(body[:size])
        check(closed(response), proven)
        assert ("data: [DONE]" in response.text) is proven.finished
        assert (response.status_code == 200) is bool(proven.content_bytes or proven.finished)
        if response.status_code == 200:
            assert content_bytes(response.text) == proven.content_bytes
        assert [call.sent for call in upstream.wait_for_calls(1, ended=True)] == [size]
        assert shop.holds == 0


class TestTheCallerHangsUp:
    @FEW
    @given(words=st.integers(10, 30), after=st.integers(1, 4000))
    def test_it_pays_for_no_less_than_it_saw_and_no_more_than_was_sent(
        self,
        caller: httpx.Client,
        upstream: FakeUpstream,
        vendor: Vendor,
        words: int,
        after: int,
    ) -> None:
        events = vendor.stream(["word "] * words)
        slow = [step for event in events for step in (event, fake.Pause(0.004))]
        upstream.reset()
        upstream.script([fake.STREAM_HEAD, *slow])
        seen = b""
        with (
            suppress(httpx.StreamError),
            caller.stream("POST", CHAT, json=hello("test/native", stream=True)) as response,
        ):
            for part in response.iter_raw():
                seen += part
                if len(seen) >= after:
                    break
        row = closed(response)
        [call] = upstream.wait_for_calls(1, ended=True)
        sent = vendor.proof(b"".join(events)[: call.sent])

        if row.source == "provider":
            return check(row, sent)
        least = math.ceil(content_bytes(seen.decode("utf-8", "ignore")) / 4)
        assert (row.state, row.source) == ("settled", "count")
        assert least <= row.output_tokens <= sent.output_tokens
        assert row.charged == row.input_tokens * 1_000 + row.output_tokens * 2_000


class TestWhatWasToldOfThePrompt:
    def test_is_charged_where_the_answer_was_never_counted(
        self, caller: httpx.Client, shop: Shop, upstream: FakeUpstream, vendor: Vendor
    ) -> None:
        """Nine tenths of it came from the provider's cache, which is cheaper."""
        upstream.script([fake.STREAM_HEAD, *vendor.early(100, cached=900), fake.Cut(False)])

        row = closed(caller.post(CHAT, json=hello("test/native", stream=True)))

        assert (row.source, row.input_tokens, row.cached_tokens) == ("count", 100, 900)
        assert row.output_tokens == 3
        assert row.charged == 100 * 1_000 + 900 * 100 + 3 * 2_000
