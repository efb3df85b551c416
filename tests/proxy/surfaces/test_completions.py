"""``POST completions``: text completions from chat models."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.fakes import upstream as fake
from tests.fakes.sandbox import SandboxServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop

PATH = "/v1/completions"


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "tokens", "prompt": "Say hello.", **fields}


def events(text: str) -> list[Any]:
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


class TestAnswer:
    @pytest.mark.parametrize("base", ["/v1", "/api/v1"])
    def test_is_a_text_completion_under_our_id(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, base: str
    ) -> None:
        response = client.post(f"{base}/completions", json=ask())

        body = response.json()
        assert body["object"] == "text_completion"
        assert body["id"] == response.headers["x-request-id"].replace("req_", "cmpl-")
        assert body["model"] == "tokens"
        assert body["choices"] == [
            {"text": "hello from upstream", "index": 0, "logprobs": None, "finish_reason": "stop"}
        ]
        assert (body["usage"]["total_tokens"], body["usage"]["cost"]) == (13, 0.000016)
        assert (shop.last.charged, shop.last.surface, shop.holds) == (16_000, "completions", 0)

    def test_travels_as_a_chat(self, client: httpx.Client, upstream: FakeUpstream) -> None:
        client.post(PATH, json=ask(prompt=["Hi"], temperature=0.5, n=2, stop=["x"], best_of=1))

        [call] = upstream.calls
        assert call.path == "/v1/chat/completions"
        assert call.body == {
            "model": "up-test/tokens",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 16,
            "temperature": 0.5,
            "n": 2,
            "stop": ["x"],
        }

    @pytest.mark.parametrize("stream", [False, True])
    def test_of_a_model_that_refuses_is_its_refusal(
        self, client: httpx.Client, upstream: FakeUpstream, stream: bool
    ) -> None:
        said = {"role": "assistant", "content": None, "refusal": "I cannot."}
        chunks = [fake.chunk(said), fake.chunk({}, finish_reason="stop")]
        upstream.script(fake.events(chunks) if stream else fake.completion(message=said))

        response = client.post(PATH, json=ask(stream=stream))

        first = events(response.text)[0] if stream else response.json()
        assert first["choices"][0]["text"] == "I cannot."

    def test_echo_begins_with_the_prompt(self, client: httpx.Client) -> None:
        body = client.post(PATH, json=ask(echo=True)).json()

        assert body["choices"][0]["text"] == "Say hello.hello from upstream"

    def test_a_failing_provider_costs_nothing(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.error(500))

        assert client.post(PATH, json=ask()).status_code == 502
        assert (shop.last.state, shop.last.charged, shop.holds) == ("voided", 0, 0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "reason", "param"),
        [
            ({"prompt": ["a", "b"]}, "unsupported_parameter", "prompt"),
            ({"prompt": [1, 2]}, "unsupported_parameter", "prompt"),
            ({"prompt": [[1, 2], [3]]}, "unsupported_parameter", "prompt"),
            ({"prompt": []}, "invalid_parameter", "prompt"),
            ({"prompt": ["a", 1]}, "invalid_parameter", "prompt"),
            ({"tools": [{"type": "function"}]}, "unsupported_parameter", "tools"),
            ({"prompt": None}, "invalid_parameter", "prompt"),
            ({"suffix": "end"}, "unsupported_parameter", "suffix"),
            ({"logprobs": 1}, "unsupported_parameter", "logprobs"),
            ({"best_of": 2}, "unsupported_parameter", "best_of"),
            ({"max_tokens": 0}, "invalid_parameter", "max_tokens"),
            ({"temperature": 3}, "invalid_parameter", "temperature"),
        ],
    )
    def test_what_a_chat_cannot_do_is_named(
        self,
        client: httpx.Client,
        upstream: FakeUpstream,
        shop: Shop,
        fields: dict[str, Any],
        reason: str,
        param: str,
    ) -> None:
        response = client.post(PATH, json=ask(**fields))

        error = response.json()["error"]
        assert (response.status_code, error["reason"], error["param"]) == (400, reason, param)
        assert (upstream.calls, shop.usage) == ([], [])


class TestStream:
    def test_is_text_then_a_finish_then_done(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.stream(["a", "b"], prompt_tokens=7))

        response = client.post(PATH, json=ask(stream=True))

        *told, done = events(response.text)
        assert done == "[DONE]"
        assert [one["choices"][0]["text"] for one in told] == ["a", "b", ""]
        assert told[-1]["choices"][0]["finish_reason"] == "stop"
        assert {one["object"] for one in told} == {"text_completion"}
        assert all("usage" not in one for one in told)
        assert (shop.last.charged, shop.holds) == (11_000, 0)

    def test_usage_and_echo_where_asked(self, client: httpx.Client, upstream: FakeUpstream) -> None:
        upstream.script(fake.stream(["a"]))
        fields = {"stream_options": {"include_usage": True}, "echo": True}

        response = client.post(PATH, json=ask(stream=True, **fields))

        *told, last, _ = events(response.text)
        assert "".join(one["choices"][0]["text"] for one in told) == "Say hello.a"
        assert (last["choices"], last["usage"]["total_tokens"]) == ([], 11)

    def test_ends_each_text_where_the_provider_ends_none(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        said = [fake.chunk(choices=[{"index": n, "delta": {"content": "a"}}]) for n in (1, 0)]
        upstream.script(fake.events(said))

        *_, last, done = events(client.post(PATH, json=ask(stream=True, n=2)).text)

        told = [(one["index"], one["text"], one["finish_reason"]) for one in last["choices"]]
        assert (told, done) == ([(0, "", "stop"), (1, "", "stop")], "[DONE]")

    def test_that_breaks_off_ends_with_the_error(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        chunks = [fake.chunk({"content": "12345678"})]
        upstream.script([*fake.events(chunks, done=0), fake.Pause(0.05), fake.Cut()])

        *_, last = events(client.post(PATH, json=ask(stream=True)).text)

        assert last["error"]["reason"] == "stream_interrupted"
        assert last["choices"][0]["finish_reason"] == "error"
        assert (shop.last.source, shop.last.output_tokens, shop.holds) == ("count", 2, 0)


class TestSandbox:
    def test_the_official_sdk_completes_and_streams(
        self, sandbox: SandboxServer, sdk: openai.OpenAI, shop: Shop
    ) -> None:
        """NG-12"""
        whole = sdk.completions.create(model="sandbox/echo", prompt="one two")
        stream = sdk.completions.create(model="sandbox/echo", prompt="one two", stream=True)

        assert whole.choices[0].text == "one two"
        assert "".join(one.choices[0].text for one in stream) == "one two"
        # Two words at $1 and two at $2 per million.
        assert [row.charged for row in shop.usage] == [6_000, 6_000]
