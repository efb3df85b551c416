from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from common import ids
from tests.fakes.sandbox import TOKEN, SandboxServer

MESSAGES = [{"role": "user", "content": "count these four words"}]


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "sandbox-calls.jsonl"


@pytest.fixture
def sandbox(log_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(log_path=log_path) as server:
        yield server


def client_of(sandbox: SandboxServer) -> httpx.Client:
    return httpx.Client(
        base_url=sandbox.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10
    )


@pytest.fixture
def client(sandbox: SandboxServer) -> Iterator[httpx.Client]:
    with client_of(sandbox) as client:
        yield client


def chat(client: httpx.Client, request_id: str = "req_x", **body: Any) -> httpx.Response:
    return client.post(
        "/v1/chat/completions",
        json={"model": "sandbox/echo", "messages": MESSAGES, **body},
        headers={"x-request-id": request_id},
    )


def events(response: httpx.Response) -> list[Any]:
    blocks = response.text.strip().split("\n\n")
    assert all(block.startswith("data: ") for block in blocks)
    return [
        "[DONE]" if block == "data: [DONE]" else json.loads(block.removeprefix("data: "))
        for block in blocks
    ]


def lookup(client: httpx.Client, request_id: str) -> Any:
    response = client.get("/generation", params={"id": request_id})
    assert response.status_code == 200
    return response.json()["data"]


class TestChat:
    def test_echo_returns_the_last_user_text_and_counts_all_text(
        self, client: httpx.Client
    ) -> None:
        messages = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "tool_call_id": "call_1", "content": "42 degrees"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look at"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
                    {"type": "text", "text": "this"},
                ],
            },
        ]
        body = chat(client, messages=messages).json()
        assert body["object"] == "chat.completion"
        assert body["choices"][0]["message"]["content"] == "look at\nthis"
        assert body["choices"][0]["finish_reason"] == "stop"
        assert body["usage"] == {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}

    def test_lorem_writes_64_words_or_as_many_as_asked(self, client: httpx.Client) -> None:
        default = chat(client, model="sandbox/lorem").json()
        short = chat(client, model="sandbox/lorem", max_completion_tokens=5).json()
        assert default["usage"]["completion_tokens"] == 64
        assert short["choices"][0]["message"]["content"] == "lorem ipsum dolor sit amet"

    def test_max_tokens_cuts_with_finish_reason_length(self, client: httpx.Client) -> None:
        choice = chat(client, max_tokens=2).json()["choices"][0]
        assert choice["message"]["content"] == "count these"
        assert choice["finish_reason"] == "length"

    def test_n_choices_are_all_counted(self, client: httpx.Client) -> None:
        body = chat(client, n=3).json()
        assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
        assert body["usage"]["completion_tokens"] == 12

    def test_other_parameters_are_accepted(self, client: httpx.Client) -> None:
        assert chat(client, stop=["\n"], temperature=0.2, tools=[], seed=1).status_code == 200

    def test_a_call_is_two_lines_in_the_log(
        self, client: httpx.Client, sandbox: SandboxServer
    ) -> None:
        chat(client, request_id="req_abc")
        start, end = sandbox.ends()
        assert list(start) == [
            "at",
            "request_id",
            "model",
            "prompt_tokens",
            "completion_tokens",
            "finished",
        ]
        assert (start["request_id"], start["completion_tokens"], start["finished"]) == (
            "req_abc",
            0,
            False,
        )
        assert (end["prompt_tokens"], end["completion_tokens"], end["finished"]) == (4, 4, True)

    @pytest.mark.parametrize("authorization", ["", "Bearer wrong", f"Basic {TOKEN}", "Bearer ключ"])
    def test_a_wrong_token_is_401_and_not_a_call(
        self, sandbox: SandboxServer, authorization: str
    ) -> None:
        response = httpx.post(
            f"{sandbox.url}/v1/chat/completions",
            json={"model": "sandbox/echo", "messages": MESSAGES},
            headers={b"authorization": authorization.encode()},
        )
        assert response.status_code == 401
        assert sandbox.lines() == []

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            (b"{", None),
            (b"[]", None),
            (b"\xff", None),
            (b'{"model": "sandbox/echo"}', "messages"),
            (b'{"model": "sandbox/echo", "messages": []}', "messages"),
            (b'{"model": 3, "messages": [{"role": "user"}]}', "model"),
            (b'{"model": "sandbox/echo", "messages": [{"role": 1}]}', "messages[0].role"),
            (
                b'{"model": "sandbox/echo", "messages": [{"role": "user"}], "max_tokens": 0}',
                "max_tokens",
            ),
            (
                b'{"model": "sandbox/echo", "messages": [{"role": "user"}],'
                b' "sandbox": {"delay_ms": -1}}',
                "sandbox.delay_ms",
            ),
        ],
    )
    def test_malformed_input_is_400_in_openais_shape(
        self, client: httpx.Client, sandbox: SandboxServer, body: bytes, param: str | None
    ) -> None:
        response = client.post("/v1/chat/completions", content=body)
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        assert error["param"] == param
        assert sandbox.lines() == []

    def test_an_unknown_model_is_404(self, client: httpx.Client) -> None:
        response = chat(client, model="sandbox/none")
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"


class TestStream:
    def test_a_chunk_per_word_then_finish_and_done(self, client: httpx.Client) -> None:
        response = chat(client, stream=True)
        assert response.headers["content-type"].startswith("text/event-stream")
        *chunks, done = events(response)
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        assert done == "[DONE]"
        assert deltas[0] == {"role": "assistant", "content": ""}
        assert [delta["content"] for delta in deltas[1:-1]] == [
            "count",
            " these",
            " four",
            " words",
        ]
        assert deltas[-1] == {}
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
        assert all("usage" not in chunk for chunk in chunks)

    def test_usage_comes_last_if_asked_for(self, client: httpx.Client) -> None:
        *chunks, usage, done = events(
            chat(client, stream=True, stream_options={"include_usage": True})
        )
        assert done == "[DONE]"
        assert usage["choices"] == []
        assert usage["usage"] == {"prompt_tokens": 4, "completion_tokens": 4, "total_tokens": 8}
        assert all(chunk["usage"] is None for chunk in chunks)

    def test_an_empty_text_is_an_empty_stream(self, client: httpx.Client) -> None:
        *chunks, done = events(
            chat(client, stream=True, messages=[{"role": "user", "content": ""}])
        )
        assert done == "[DONE]"
        assert len(chunks) == 2


class TestKnobs:
    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("status", ["429", "500"])
    def test_a_refusal_counts_no_tokens(
        self, client: httpx.Client, sandbox: SandboxServer, status: str, stream: bool
    ) -> None:
        response = chat(client, stream=stream, sandbox={"fail": status})
        assert response.status_code == int(status)
        assert response.json()["error"]["message"]
        end = sandbox.ends()[-1]
        assert (end["prompt_tokens"], end["completion_tokens"], end["finished"]) == (0, 0, False)

    def test_a_failure_after_chunks_is_an_event_in_the_stream(self, client: httpx.Client) -> None:
        *chunks, error = events(
            chat(client, stream=True, sandbox={"fail": "500", "after_chunks": 2})
        )
        assert len(chunks) == 3
        assert error["error"]["type"] == "server_error"

    @pytest.mark.parametrize("after", [0, 2, 4])
    def test_a_cut_stream_ends_without_its_end(
        self, client: httpx.Client, sandbox: SandboxServer, after: int
    ) -> None:
        knobs = {"fail": "cut", "after_chunks": after}
        with pytest.raises(httpx.RemoteProtocolError):
            chat(client, stream=True, sandbox=knobs)
        end = sandbox.ends()[-1]
        assert (end["completion_tokens"], end["finished"]) == (after, False)

    def test_a_failure_after_more_chunks_than_there_are_never_comes(
        self, client: httpx.Client
    ) -> None:
        knobs = {"fail": "cut", "after_chunks": 5}
        assert events(chat(client, stream=True, sandbox=knobs))[-1] == "[DONE]"

    def test_a_cut_answer_is_half_a_body(
        self, client: httpx.Client, sandbox: SandboxServer
    ) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            chat(client, sandbox={"fail": "cut", "after_chunks": 1})
        assert sandbox.ends()[-1]["completion_tokens"] == 1

    @pytest.mark.parametrize("stream", [True, False])
    def test_a_stall_sends_nothing_until_the_caller_gives_up(
        self, client: httpx.Client, sandbox: SandboxServer, stream: bool
    ) -> None:
        client.timeout = httpx.Timeout(0.3)
        with pytest.raises(httpx.ReadTimeout):
            chat(client, stream=stream, sandbox={"fail": "stall"})
        end = sandbox.ends()[-1]
        assert (end["completion_tokens"], end["finished"]) == (0, False)

    def test_delays_are_kept(self, client: httpx.Client) -> None:
        begun = time.monotonic()
        chat(client, stream=True, sandbox={"delay_ms": 100, "chunk_delay_ms": 50})
        assert time.monotonic() - begun >= 0.25

    def test_an_unknown_knob_is_named(self, client: httpx.Client) -> None:
        response = chat(client, sandbox={"speed": 3})
        assert response.status_code == 400
        assert "speed" in response.json()["error"]["message"]


class TestDisconnect:
    def test_generation_stops_where_the_caller_left(
        self, client: httpx.Client, sandbox: SandboxServer
    ) -> None:
        seen = 0
        request = {
            "model": "sandbox/lorem",
            "messages": MESSAGES,
            "stream": True,
            "max_tokens": 1000,
            "sandbox": {"chunk_delay_ms": 20},
        }
        with client.stream("POST", "/v1/chat/completions", json=request) as response:
            for line in response.iter_lines():
                seen += line.startswith("data: ")
                if seen == 6:
                    break
        end = sandbox.ends()[-1]
        assert end["finished"] is False
        # As many as came until it was noticed; all of them would take 20 s.
        assert 5 <= end["completion_tokens"] < 250

    def test_a_caller_that_dies_before_the_answer_stops_it_too(
        self, sandbox: SandboxServer
    ) -> None:
        host, port = sandbox.url.removeprefix("http://").split(":")
        body = json.dumps(
            {"model": "sandbox/echo", "messages": MESSAGES, "sandbox": {"delay_ms": 60_000}}
        ).encode()
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: sandbox\r\n"
                + f"authorization: Bearer {TOKEN}\r\n".encode()
                + f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )
            time.sleep(0.2)
        assert sandbox.ends()[-1]["completion_tokens"] == 0


class TestGeneration:
    def test_it_knows_a_call_under_every_form_of_its_id(self, client: httpx.Client) -> None:
        value = ids.request_id()
        answer = chat(client, request_id=ids.form("req_", value)).json()
        for id in (
            ids.form("req_", value),
            ids.form("chatcmpl-", value),
            ids.form("gen_", value),
            answer["id"],
        ):
            assert lookup(client, id) == {
                "id": ids.form("req_", value),
                "model": "sandbox/echo",
                "tokens_prompt": 4,
                "tokens_completion": 4,
                "finished": True,
                "cancelled": False,
            }

    def test_a_running_call_is_neither_finished_nor_cancelled(
        self, client: httpx.Client, sandbox: SandboxServer
    ) -> None:
        request = {
            "model": "sandbox/echo",
            "messages": MESSAGES,
            "stream": True,
            "sandbox": {"fail": "stall", "after_chunks": 3},
        }
        headers = {"x-request-id": "req_running"}
        with client.stream(
            "POST", "/v1/chat/completions", json=request, headers=headers
        ) as response:
            lines = response.iter_lines()
            while " four" not in next(lines):
                pass
            with client_of(sandbox) as other:
                running = lookup(other, "req_running")
        sandbox.ends()
        gone = lookup(client, "req_running")
        assert (running["tokens_completion"], running["finished"], running["cancelled"]) == (
            3,
            False,
            False,
        )
        assert (gone["tokens_completion"], gone["finished"], gone["cancelled"]) == (3, False, True)

    def test_an_unknown_call_is_404(self, client: httpx.Client) -> None:
        assert client.get("/generation", params={"id": "req_never"}).status_code == 404
        assert client.get("/generation").status_code == 404

    def test_it_can_be_switched_off(self, tmp_path: Path) -> None:
        with (
            SandboxServer(log_path=tmp_path / "log", lookup=False) as sandbox,
            client_of(sandbox) as client,
        ):
            chat(client, request_id="req_x")
            response = client.get("/generation", params={"id": "req_x"})
        assert response.status_code == 501
        assert response.json()["error"]["code"] == "disabled"

    def test_it_survives_a_restart(self, log_path: Path) -> None:
        with SandboxServer(log_path=log_path) as first, client_of(first) as client:
            chat(client, request_id="req_one")
            chat(client, request_id="req_two", max_tokens=1)
        log_path.write_bytes(
            log_path.read_bytes()
            + b'{"at":"x","request_id":"req_killed","model":"sandbox/echo","prompt_tokens":2,'
            b'"completion_tokens":0,"finished":false}\n{"at":"20'
        )
        with SandboxServer(log_path=log_path) as second, client_of(second) as client:
            assert lookup(client, "req_one")["tokens_completion"] == 4
            assert lookup(client, "req_two")["tokens_completion"] == 1
            killed = lookup(client, "req_killed")
        assert (killed["tokens_prompt"], killed["cancelled"]) == (2, True)
        assert json.loads(log_path.read_text().splitlines()[-1])["request_id"] == "req_killed"


class TestCosts:
    def test_a_day_is_listed_in_pages(
        self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.sandbox.provider.COSTS_PAGE", 1)
        for name in ("req_one", "req_two"):
            chat(client, request_id=name)
        today = datetime.now(UTC).date().isoformat()
        first = client.get("/v1/costs", params={"day": today}).json()
        rest = client.get("/v1/costs", params={"day": today, "after": first["next"]}).json()
        assert [line["request_id"] for line in first["data"] + rest["data"]] == [
            "req_one",
            "req_two",
        ]
        assert (rest["data"][0]["tokens_prompt"], rest["data"][0]["finished"]) == (4, True)
        assert rest["next"] is None

    def test_it_survives_a_restart(self, log_path: Path) -> None:
        with SandboxServer(log_path=log_path) as first, client_of(first) as client:
            chat(client, request_id="req_one")
        today = datetime.now(UTC).date().isoformat()
        with SandboxServer(log_path=log_path) as second, client_of(second) as client:
            told = client.get("/costs", params={"day": today}).json()
            assert [line["request_id"] for line in told["data"]] == ["req_one"]
            assert client.get("/costs", params={"day": "2020-01-01"}).json()["data"] == []

    def test_a_day_is_needed(self, client: httpx.Client) -> None:
        assert client.get("/costs").status_code == 400
        assert client.get("/costs", params={"day": "soon"}).status_code == 400


class TestModels:
    def test_it_lists_what_it_serves(self, client: httpx.Client) -> None:
        entries = client.get("/v1/models").json()["data"]
        served = ["sandbox/echo", "sandbox/lorem", "sandbox/embedding", "sandbox/image"]
        assert [entry["id"] for entry in entries] == served
