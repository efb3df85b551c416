from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes import upstream as fake
from tests.fakes.upstream import Call, Cut, FakeUpstream, Reply


@pytest.fixture(scope="module")
def server() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


@pytest.fixture
def upstream(server: FakeUpstream) -> FakeUpstream:
    server.reset()
    return server


@pytest.fixture
def client(upstream: FakeUpstream) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=upstream.base_url, timeout=5) as client:
        yield client


def ask(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/chat/completions", json={"model": "m", **body})


def read_into(seen: list[bytes], client: httpx.Client) -> None:
    with client.stream("POST", "/chat/completions", json={"model": "m"}) as response:
        seen.extend(response.iter_raw())


class TestScript:
    def test_without_one_it_answers_sensibly(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        assert ask(client).json()["usage"]["total_tokens"] == 13
        assert ask(client, stream=True).text.endswith("data: [DONE]\n\n")
        assert client.get("/generation", params={"id": "x"}).status_code == 404

    def test_replies_come_in_order_and_the_last_repeats(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        upstream.script(fake.error(429), fake.error(503), fake.completion())
        assert [ask(client).status_code for _ in range(4)] == [429, 503, 200, 200]

    def test_a_models_script_comes_before_the_one_for_all(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        upstream.script(fake.error(500))
        upstream.script(fake.completion(), model="good")
        assert ask(client).status_code == 500
        assert ask(client, model="good").status_code == 200

    def test_a_reply_may_depend_on_the_call(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        def shout(call: Call) -> Reply:
            return fake.completion(str(call.model).upper())

        upstream.script(shout)
        assert ask(client, model="abc").json()["choices"][0]["message"]["content"] == "ABC"

    def test_another_path_has_its_own_script(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        upstream.script(fake.answer({"data": {"id": "x"}}), path="/generation")
        assert client.get("/generation", params={"id": "x"}).json()["data"]["id"] == "x"


class TestCalls:
    def test_they_show_what_arrived(self, upstream: FakeUpstream, client: httpx.Client) -> None:
        client.headers["x-request-id"] = "req_1"
        ask(client, stream=True)
        (call,) = upstream.wait_for_calls(1, ended=True)
        assert (call.method, call.path, call.model) == ("POST", "/v1/chat/completions", "m")
        assert call.headers["x-request-id"] == "req_1"
        assert call.stream
        assert call.finished

    def test_a_connection_is_kept_alive(self, upstream: FakeUpstream, client: httpx.Client) -> None:
        before = upstream.connections
        ask(client)
        ask(client, stream=True)
        ask(client)
        assert upstream.connections == before + 1

    def test_a_caller_that_hangs_up_is_noticed(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        upstream.script(fake.endless())
        with client.stream("POST", "/chat/completions", json={"model": "m"}) as response:
            next(response.iter_lines())
        (call,) = upstream.wait_for_calls(1, ended=True)
        assert call.hung_up
        assert not call.finished


class TestReplies:
    @pytest.mark.parametrize("reset", [True, False])
    @pytest.mark.parametrize("size", [0, 1, 100])
    def test_a_cut_leaves_exactly_the_bytes_before_it(
        self, upstream: FakeUpstream, client: httpx.Client, size: int, reset: bool
    ) -> None:
        reply = fake.stream()
        upstream.script(fake.cut_at(reply, size, reset=reset))
        seen: list[bytes] = []
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            read_into(seen, client)
        assert b"".join(seen) == fake.body_of(reply)[:size]

    def test_a_hang_up_comes_before_any_byte(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        for reset in (True, False):
            upstream.script(fake.hang_up(reset=reset))
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                ask(client)

    def test_silence_lasts_until_the_caller_gives_up(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        upstream.script(fake.silence())
        with pytest.raises(httpx.ReadTimeout):
            client.post("/chat/completions", json={}, timeout=0.1)
        assert upstream.wait_for_calls(1, ended=True)[0].hung_up

    def test_pieces_split_characters_but_lose_nothing(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        reply = fake.stream(["при", "вет", " 🙂"], newline="\r\n")
        upstream.script(fake.in_pieces(reply, 3, every_s=0))
        assert ask(client).content == fake.body_of(reply)

    def test_done_can_be_missing_or_twice(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        upstream.script(fake.stream(done=0), fake.stream(done=2))
        assert ask(client).text.count("[DONE]") == 0
        assert ask(client).text.count("[DONE]") == 2

    def test_usage_can_be_missing(self, upstream: FakeUpstream, client: httpx.Client) -> None:
        upstream.script(fake.completion(with_usage=False), fake.stream(with_usage=False))
        assert "usage" not in ask(client).json()
        assert "usage" not in ask(client).text

    def test_a_success_can_carry_an_error(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        upstream.script(fake.answer({"error": {"message": "quota"}}))
        assert ask(client).json() == {"error": {"message": "quota"}}

    def test_lines_can_be_huge(self, upstream: FakeUpstream, client: httpx.Client) -> None:
        upstream.script(fake.huge_line(3_000_000))
        first = json.loads(ask(client).text.splitlines()[0].removeprefix("data: "))
        assert len(first["choices"][0]["delta"]["content"]) == 3_000_000

    def test_an_answer_can_be_cut_short_of_its_length(
        self, upstream: FakeUpstream, client: httpx.Client
    ) -> None:
        upstream.script(fake.cut_at(fake.completion(), 20, reset=False))
        with pytest.raises(httpx.RemoteProtocolError):
            ask(client)

    def test_steps_can_follow(self, upstream: FakeUpstream, client: httpx.Client) -> None:
        upstream.script(fake.then(fake.stream(done=0), Cut(reset=False)))
        with pytest.raises(httpx.RemoteProtocolError):
            ask(client)

    def test_nobody_listens_at_an_unreachable_url(self) -> None:
        with pytest.raises(httpx.ConnectError):
            httpx.get(fake.unreachable_url())
