"""Streams: passed on as they come, ended truthfully, charged for what was used."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop, hello, request_id

SSE = fake.Head(200, (("content-type", "text/event-stream"),))


def events(text: str) -> list[Any]:
    """Return the data of a stream's events, [DONE] as a string."""
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def content(text: str) -> str:
    """Return the text that a stream told."""
    chunks = [event for event in events(text) if event != "[DONE]"]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def chunk(text: str | None = None, *, finish: str | None = None, **more: Any) -> bytes:
    """Return one upstream event."""
    delta = {} if text is None else {"content": text}
    body = {
        "id": "up-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "up",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(body | more).encode() + b"\n\n"


def usage_chunk(prompt: int, completion: int) -> bytes:
    """Return the upstream's last event."""
    return (
        b"data: "
        + json.dumps(
            {"id": "up-1", "choices": [], "usage": fake.usage(prompt, completion)}
        ).encode()
        + b"\n\n"
    )


DONE = b"data: [DONE]\n\n"


class TestAWholeStream:
    def test_comes_under_our_id_and_ends_with_done(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.script(
            [SSE, chunk("a"), chunk("b"), chunk(finish="stop"), usage_chunk(7, 2), DONE]
        )

        response = client.post("/v1/chat/completions", json=hello("tokens", stream=True))

        *chunks, done = events(response.text)
        assert done == "[DONE]"
        assert content(response.text) == "ab"
        assert {one["model"] for one in chunks} == {"tokens"}
        assert {one["id"] for one in chunks} == {
            response.headers["x-request-id"].replace("req_", "chatcmpl-")
        }
        assert all(one["choices"] and "usage" not in one for one in chunks)
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"

    def test_is_charged_by_the_upstreams_usage(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([SSE, chunk("a"), chunk(finish="stop"), usage_chunk(7, 2), DONE])

        client.post("/v1/chat/completions", json=hello(stream=True))

        assert (shop.last.charged, shop.last.source) == (11_000, "provider")
        assert upstream.calls[0].body["stream_options"] == {"include_usage": True}

    def test_has_usage_and_cost_where_the_caller_asked(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.script([SSE, chunk("a"), chunk(finish="stop"), usage_chunk(7, 2), DONE])

        response = client.post(
            "/v1/chat/completions", json=hello(stream=True, stream_options={"include_usage": True})
        )

        *chunks, last, _done = events(response.text)
        assert last["choices"] == []
        assert last["usage"]["total_tokens"] == 9
        assert last["usage"]["cost"] == 0.000011
        assert all(one["usage"] is None for one in chunks)

    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    def test_may_be_cut_into_any_pieces(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, size: int
    ) -> None:
        whole = b": hi\r\n\r\n" + chunk("привет ").replace(b"\n", b"\r\n")
        whole += chunk("мир") + chunk(finish="stop") + usage_chunk(7, 2) + DONE
        upstream.script([SSE, *(whole[i : i + size] for i in range(0, len(whole), size))])

        response = client.post("/v1/chat/completions", json=hello(stream=True))

        assert content(response.text) == "привет мир"
        assert shop.last.charged == 11_000

    def test_without_usage_is_counted_and_marked_as_an_estimate(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([SSE, chunk("12345678"), chunk(finish="stop"), DONE])

        client.post("/v1/chat/completions", json=hello(stream=True))

        assert (shop.last.source, shop.last.output_tokens) == ("count", 2)

    def test_tool_calls_get_an_index_and_tell_their_id_once(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        def part(arguments: str) -> bytes:
            call = {"id": "call_1", "type": "function", "function": {"name": "f"}}
            call["function"] |= {"arguments": arguments}  # type: ignore[operator]
            choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
            return chunk(choices=[choice])

        upstream.script([SSE, part('{"a"'), part(":1}"), chunk(finish="tool_calls"), DONE])

        response = client.post("/v1/chat/completions", json=hello(stream=True))

        first, second = (
            event["choices"][0]["delta"]["tool_calls"][0] for event in events(response.text)[:2]
        )
        assert (first["index"], first["id"], first["function"]["name"]) == (0, "call_1", "f")
        assert second["index"] == 0
        assert "id" not in second
        assert second["function"] == {"arguments": ":1}"}


END = chunk(finish="stop")
USAGE = usage_chunk(7, 1)
PRETTY = json.dumps(json.loads(chunk("hi")[len(b"data: ") :]), indent=1).splitlines()


# Streams of "hi" that are odd but whole.
ODD: dict[str, list[fake.Step]] = {
    "[DONE] twice": [chunk("hi"), END, USAGE, DONE, DONE],
    "no [DONE]": [chunk("hi"), END, USAGE],
    "no end": [chunk("hi"), USAGE, DONE],
    "comments and other fields": [
        b": hi\n\nid: 1\nretry: 5\nevent: x\n",
        *(chunk("hi"), END, USAGE, DONE),
    ],
    "data in several lines": [
        *(f"data: {line}\n".encode() for line in PRETTY),
        *(b"\n", END, USAGE, DONE),
    ],
    "no choices beside the usage": [
        *(chunk("hi"), END),
        *(USAGE.replace(b'"choices": []', b'"choices": null'), DONE),
    ],
    "no delta at the end": [
        chunk("hi"),
        *(END.replace(b'"delta": {}', b'"delta": null'), USAGE, DONE),
    ],
    "no index": [one.replace(b'"index": 0, ', b"") for one in (chunk("hi"), END, USAGE, DONE)],
    "usage with each chunk": [
        *(chunk(letter, usage=fake.usage(7, 1)) for letter in "hi"),
        *(END, DONE),
    ],
    "usage repeated": [USAGE, chunk("hi"), END, USAGE, DONE],
}


class TestAnOddButWholeStream:
    def test_is_told_as_documented_and_charged_once(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        for count, (name, steps) in enumerate(ODD.items(), start=1):
            upstream.script([SSE, *steps])

            response = client.post("/v1/chat/completions", json=hello(stream=True))

            *told, done = events(response.text)
            assert (done, content(response.text)) == ("[DONE]", "hi"), name
            *parts, end = (choice for one in told for choice in one["choices"])
            assert {(part["index"], part["finish_reason"]) for part in parts} == {(0, None)}, name
            assert end == {"index": 0, "delta": {}, "finish_reason": "stop"}, name
            assert [row.charged for row in shop.usage] == [9_000] * count, name
            assert (shop.last.state, shop.last.source) == ("settled", "provider"), name


class TestAStreamThatNeverEnds:
    def test_is_cut_far_beyond_its_limit(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.endless("x" * 8000, every_s=0.005))

        response = client.post("/v1/chat/completions", json=hello(stream=True, max_tokens=1))

        assert events(response.text)[-1]["error"]["reason"] == "stream_interrupted"
        [call] = upstream.wait_for_calls(1, ended=True)
        assert call.hung_up
        assert (shop.last.state, shop.last.source) == ("settled", "count")
        assert 0 < shop.last.charged <= shop.last.hold
        assert shop.holds == 0


class TestChoicesSideBySide:
    def test_have_all_to_end(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        def said(index: int, text: str | None = None, finish: str | None = None) -> bytes:
            delta = {} if text is None else {"content": text}
            return chunk(choices=[{"index": index, "delta": delta, "finish_reason": finish}])

        one_ends = (said(0, "1234"), said(1, "5678"), said(0, finish="stop"))
        upstream.script([SSE, *one_ends, fake.Pause(0.05), fake.Cut()])

        response = client.post("/v1/chat/completions", json=hello(stream=True, n=2))

        assert events(response.text)[-1]["error"]["reason"] == "stream_interrupted"
        assert (shop.last.reason, shop.last.output_tokens) == ("stream_interrupted", 2)


class TestAStreamThatBreaksOff:
    @pytest.mark.parametrize(
        "end",
        [
            pytest.param([fake.Cut()], id="reset"),
            pytest.param([fake.Cut(reset=False)], id="closed"),
            pytest.param([], id="ended without a finish"),
            pytest.param([b"data: {nonsense\n\n"], id="garbage"),
            pytest.param([b'data: {"error": {"message": "secret detail"}}\n\n'], id="error event"),
            pytest.param([b"data: " + b"x" * 9_000_000], id="endless line"),
        ],
    )
    def test_says_so_and_charges_what_came(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, end: list[fake.Step]
    ) -> None:
        upstream.script([SSE, chunk("12345678"), *end])

        response = client.post("/v1/chat/completions", json=hello(stream=True))

        last = events(response.text)[-1]
        assert last["error"]["reason"] == "stream_interrupted"
        assert last["choices"][0]["finish_reason"] == "error"
        assert "secret detail" not in response.text
        assert (shop.last.state, shop.last.source) == ("settled", "count")
        assert shop.last.output_tokens == 2
        assert shop.last.reason == "stream_interrupted"
        assert shop.holds == 0

    def test_before_any_content_costs_nothing(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([SSE, chunk(""), fake.Cut()])

        response = client.post("/v1/chat/completions", json=hello(stream=True))

        assert response.status_code == 502
        assert shop.last.charged == 0
        assert shop.holds == 0


CALLS: tuple[dict[str, Any], ...] = (
    {"function_call": {"name": "f", "arguments": '{"a":1'}},
    {"tool_calls": [{"index": 0, "custom": {"name": "f", "input": "letters"}}]},
    {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a":1'}}]},
)


class TestACallOfAFunctionThatBreaksOff:
    def test_is_told_and_charged_whatever_its_form(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        for delta in CALLS:
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            upstream.script([SSE, chunk(choices=[choice]), fake.Pause(0.05), fake.Cut()])

            response = client.post("/v1/chat/completions", json=hello(stream=True))

            first, last = events(response.text)
            assert first["choices"][0]["delta"] == delta
            assert last["error"]["reason"] == "stream_interrupted"
            assert (shop.last.source, shop.last.output_tokens) == ("count", 2)


class TestUsageThatWasToldEarly:
    """Some providers tell what they have counted so far, and go on."""

    @pytest.mark.parametrize(
        ("told", "source", "output"),
        [
            pytest.param(1, "count", 26, id="less than came"),
            pytest.param(60, "provider", 60, id="more than came"),
        ],
    )
    def test_is_not_all_where_the_stream_breaks_off_later(
        self,
        client: httpx.Client,
        upstream: FakeUpstream,
        shop: Shop,
        told: int,
        source: str,
        output: int,
    ) -> None:
        early = chunk("word", usage=fake.usage(10, told))
        upstream.script([SSE, early, chunk("x" * 100), fake.Cut()])

        client.post("/v1/chat/completions", json=hello(stream=True))

        assert (shop.last.source, shop.last.output_tokens) == (source, output)
        assert (shop.last.input_tokens, shop.last.reason) == (10, "stream_interrupted")

    def test_is_all_where_nothing_came_after_it(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([SSE, chunk("x" * 100, usage=fake.usage(10, 2)), fake.Cut()])

        client.post("/v1/chat/completions", json=hello(stream=True))

        assert (shop.last.source, shop.last.output_tokens) == ("provider", 2)

    def test_is_not_all_where_the_caller_leaves_later(
        self, gateway: GatewayServer, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        shop.provider_cancels()
        gateway.catch_up()
        early = chunk("word", usage=fake.usage(10, 1))
        quiet = fake.Repeat(b": quiet\n\n", every_s=0.05)
        upstream.script([SSE, early, chunk("x" * 100), quiet])

        with client.stream("POST", "/v1/chat/completions", json=hello(stream=True)) as response:
            hear(response, "xxx")

        wait_until_closed(shop)
        assert (shop.last.source, shop.last.output_tokens) == ("count", 26)
        assert shop.last.cancelled

    def test_is_not_all_where_it_ends_without_a_last_word(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        early = chunk("word", usage=fake.usage(10, 1))
        upstream.script([SSE, early, chunk("x" * 100), chunk(finish="stop"), DONE])

        client.post("/v1/chat/completions", json=hello(stream=True))

        assert (shop.last.source, shop.last.output_tokens) == ("count", 26)


class TestPace:
    def test_words_that_come_fast_come_together_and_whole(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, settings: Settings
    ) -> None:
        # Fast is what is faster than this, also on a slow machine.
        settings.STREAM_PACE_S = 0.1
        steps: list[fake.Step] = [SSE]
        for n in range(100):
            steps += [chunk(f" {n}"), fake.Pause(0.001)]
        upstream.script([*steps, chunk(finish="stop"), usage_chunk(7, 2), DONE])

        with client.stream("POST", "/v1/chat/completions", json=hello(stream=True)) as response:
            parts = list(response.iter_raw())

        told = b"".join(parts).decode()
        assert content(told) == "".join(f" {n}" for n in range(100))
        assert told.endswith("data: [DONE]\n\n")
        assert len(parts) < 80
        assert shop.last.charged == 11_000

    def test_words_after_a_pause_do_not_wait_for_the_next(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        heard = threading.Event()
        upstream.script([SSE, chunk("a"), fake.Pause(0.1), chunk("b"), fake.Gate(heard)])

        with client.stream("POST", "/v1/chat/completions", json=hello(stream=True)) as response:
            told = hear(response, '"b"')
        heard.set()

        assert content(told) == "ab"

    def test_a_hang_up_while_words_come_fast_is_noticed(
        self, gateway: GatewayServer, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        shop.provider_cancels()
        gateway.catch_up()
        upstream.script([SSE, fake.Repeat(chunk("word"), every_s=0.001)])

        with client.stream("POST", "/v1/chat/completions", json=hello(stream=True)) as response:
            next(response.iter_bytes())

        [call] = upstream.wait_for_calls(1, ended=True)
        assert call.hung_up
        wait_until_closed(shop)
        assert (shop.last.source, shop.last.cancelled) == ("count", True)


class TestACallerWhoHangsUp:
    def test_before_the_first_byte_pays_nothing_and_the_upstream_is_cancelled(
        self, gateway: GatewayServer, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([fake.Stall()])

        with gateway.leaving(shop.secret, hello(stream=True)):
            upstream.wait_for_calls(1)

        [call] = upstream.wait_for_calls(1, ended=True)
        assert call.hung_up
        wait_until_closed(shop)
        assert (shop.last.charged, shop.last.cancelled) == (0, True)

    def test_later_pays_for_what_was_drained(
        self, gateway: GatewayServer, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        left = threading.Event()
        upstream.script(
            [SSE, chunk("a"), fake.Gate(left), chunk(finish="stop"), usage_chunk(7, 2), DONE]
        )

        with client.stream("POST", "/v1/chat/completions", json=hello(stream=True)) as response:
            next(response.iter_bytes())
        gateway.notice_hang_up()
        left.set()

        wait_until_closed(shop)
        assert (shop.last.charged, shop.last.cancelled) == (11_000, True)
        assert upstream.calls[0].finished

    def test_later_is_cancelled_where_the_provider_stops_billing(
        self, gateway: GatewayServer, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        shop.provider_cancels()
        upstream.script([SSE, chunk("12345678"), fake.Repeat(b": quiet\n\n", every_s=0.05)])
        gateway.catch_up()

        with client.stream("POST", "/v1/chat/completions", json=hello(stream=True)) as response:
            next(response.iter_bytes())

        upstream.wait_for_calls(1, ended=True)
        wait_until_closed(shop)
        assert (shop.last.source, shop.last.output_tokens) == ("count", 2)
        assert shop.last.cancelled
        assert shop.attempts(request_id(response))[0].cause == "cancelled"

    def test_of_a_whole_answer_pays_nothing(
        self, gateway: GatewayServer, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script([fake.Stall()])

        with gateway.leaving(shop.secret, hello()):
            upstream.wait_for_calls(1)

        upstream.wait_for_calls(1, ended=True)
        wait_until_closed(shop)
        assert (shop.last.state, shop.last.cancelled) == ("voided", True)


def hear(response: httpx.Response, words: str) -> str:
    """Read a stream until something was said in it; return all that was."""
    told = b""
    for part in response.iter_raw():
        told += part
        if words.encode() in told:
            break
    assert words.encode() in told, told
    return told.decode()


def wait_until_closed(shop: Shop) -> None:
    """Wait until the one call is settled."""
    deadline = time.monotonic() + 30
    while not shop.usage:
        assert time.monotonic() < deadline, "the call was not settled"
        time.sleep(0.02)
    assert shop.holds == 0
