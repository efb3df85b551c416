"""``POST responses``: a chat in the words of OpenAI's newer endpoint, without its memory."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall
from pydantic import BaseModel

from tests.fakes import upstream as fake
from tests.fakes.sandbox import SandboxServer
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import Shop

PATH = "/v1/responses"
AI_SDK = (
    "ai/6.0.326 ai-sdk/provider-utils/4.0.66 runtime/node.js/v20.20.2",
    "ai-sdk/openai/3.0.141 ai-sdk/provider-utils/4.0.66 runtime/node.js/v20.20.2",
)
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bonn"}'},
}


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "tokens", "input": "Say hello.", **fields}


def sent(client: httpx.Client, upstream: FakeUpstream, **fields: Any) -> dict[str, Any]:
    """Return the chat that a provider gets for a request."""
    response = client.post(PATH, json=ask(**fields))
    assert response.status_code == 200, response.text
    body = upstream.calls[-1].body
    assert isinstance(body, dict)
    return body


def events(text: str) -> list[dict[str, Any]]:
    """Return a stream's events, their names and numbers proven."""
    told = []
    for number, block in enumerate(text.strip().split("\n\n")):
        name, data = block.split("\n")
        body = json.loads(data[6:])
        assert (name[7:], number) == (body["type"], body["sequence_number"])
        told.append(body)
    return told


class TestAnswer:
    @pytest.mark.parametrize("base", ["/v1", "/api/v1"])
    def test_is_a_response_under_our_id(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop, base: str
    ) -> None:
        response = client.post(f"{base}/responses", json=ask(metadata={"a": "b"}))

        body = response.json()
        assert (body["object"], body["status"], body["model"]) == (
            "response",
            "completed",
            "tokens",
        )
        assert body["id"] == response.headers["x-request-id"].replace("req_", "resp_")
        [item] = body["output"]
        assert item["id"] == body["id"].replace("resp_", "msg_")
        assert item["content"] == [
            {
                "type": "output_text",
                "text": "hello from upstream",
                "annotations": [],
                "logprobs": [],
            }
        ]
        assert body["usage"] == {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 13,
            "cost": 0.000016,
        }
        assert (body["metadata"], body["store"], body["tools"]) == ({"a": "b"}, False, [])
        assert (shop.last.charged, shop.last.surface, shop.holds) == (16_000, "responses", 0)

    def test_has_every_field_of_the_official_type(self, client: httpx.Client) -> None:
        """NG-12: the type that the official SDK builds, checked strictly."""
        body = client.post(PATH, json=ask(tools=[WEATHER], reasoning={"effort": "low"})).json()

        assert Response.model_validate(body).output_text == "hello from upstream"

    def test_calls_of_functions_are_items(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        upstream.script(fake.completion(message=message, finish_reason="tool_calls"))

        body = client.post(PATH, json=ask(tools=[WEATHER])).json()

        [item] = Response.model_validate(body).output
        assert isinstance(item, ResponseFunctionToolCall)
        assert (item.call_id, item.name, item.arguments) == (
            "call_1",
            "weather",
            '{"city":"Bonn"}',
        )
        assert body["status"] == "completed"

    @pytest.mark.parametrize(
        ("finish", "reason"),
        [("length", "max_output_tokens"), ("content_filter", "content_filter")],
    )
    def test_that_is_cut_short_says_why(
        self, client: httpx.Client, upstream: FakeUpstream, finish: str, reason: str
    ) -> None:
        upstream.script(fake.completion("half", finish_reason=finish))

        body = client.post(PATH, json=ask()).json()

        assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": reason})
        assert body["output"][0]["status"] == "incomplete"

    def test_a_refusal_is_a_part_of_its_own(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.script(
            fake.completion(message={"role": "assistant", "content": None, "refusal": "No."})
        )

        [item] = client.post(PATH, json=ask()).json()["output"]

        assert item["content"] == [{"type": "refusal", "refusal": "No."}]

    def test_a_failing_provider_costs_nothing(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.error(500))

        assert client.post(PATH, json=ask()).status_code == 502
        assert (shop.last.state, shop.last.charged, shop.holds) == ("voided", 0, 0)


class TestTranslation:
    def test_every_parameter_travels_in_a_chats_words(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        schema = {"type": "object", "properties": {}}
        form = {"type": "json_schema", "name": "s", "schema": schema, "strict": True}

        body = sent(
            client,
            upstream,
            instructions="Be brief.",
            tools=[WEATHER],
            tool_choice={"type": "function", "name": "weather"},
            max_output_tokens=50,
            temperature=0.5,
            top_p=0.9,
            parallel_tool_calls=False,
            text={"format": form, "verbosity": "low"},
            reasoning={"effort": "low", "summary": "auto"},
            metadata={"a": "b"},
            include=["reasoning.encrypted_content"],
            store=True,
            user="u",
        )

        function = {name: WEATHER[name] for name in WEATHER if name != "type"}
        schema_form = {"name": "s", "schema": schema, "strict": True}
        assert body == {
            "model": "up-test/tokens",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Say hello."},
            ],
            "tools": [{"type": "function", "function": function}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "max_tokens": 50,
            "temperature": 0.5,
            "top_p": 0.9,
            "parallel_tool_calls": False,
            "response_format": {"type": "json_schema", "json_schema": schema_form},
            "verbosity": "low",
            "reasoning_effort": "low",
            "user": "u",
            "stream": False,
        }

    def test_a_conversation_becomes_messages(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        picture = {"type": "input_image", "image_url": "https://pics.example/1", "detail": "low"}
        conversation = [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Look"}, picture]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "item_reference", "id": "rs_2"},
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "status": "completed",
                "content": [
                    {"type": "output_text", "text": "A ", "annotations": []},
                    {"type": "output_text", "text": "cat.", "annotations": []},
                ],
            },
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "1"},
            {
                "type": "function_call_output",
                "call_id": "b",
                "output": [{"type": "input_text", "text": "2"}],
            },
            {"role": "user", "content": [{"type": "input_text", "text": "And?"}]},
        ]

        body = sent(client, upstream, input=conversation)

        def call(id: str, name: str) -> dict[str, Any]:
            return {"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}

        url = {"url": "https://pics.example/1", "detail": "low"}
        assert body["messages"] == [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image_url", "image_url": url},
                ],
            },
            {
                "role": "assistant",
                "content": "A cat.",
                "tool_calls": [call("a", "f"), call("b", "g")],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            {"role": "user", "content": "And?"},
        ]

    def test_what_was_answered_can_be_sent_back_as_it_is(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        message = {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]}
        upstream.script(fake.completion(message=message, finish_reason="tool_calls"))
        output = client.post(PATH, json=ask(tools=[WEATHER])).json()["output"]
        result = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}

        body = sent(client, upstream, input=[*output, result])

        assert body["messages"] == [
            message,
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ]


class TestReferences:
    @pytest.mark.parametrize(("stream", "agent"), [(False, AI_SDK[0]), (True, AI_SDK[1])])
    def test_the_ai_sdk_may_send_ids_back(
        self, client: httpx.Client, upstream: FakeUpstream, stream: bool, agent: str
    ) -> None:
        """NG-12: the Vercel AI SDK refers to earlier items; their ids carry them."""
        upstream.script(
            fake.stream(["Hello, ", "мир"]) if stream else fake.completion("Hello, мир")
        )
        answer = client.post(PATH, json=ask(stream=stream), headers={"user-agent": agent})
        answered = events(answer.text)[-1]["response"] if stream else answer.json()
        ids = [item["id"] for item in answered["output"]]
        references = [{"type": "item_reference", "id": id} for id in ids]
        upstream.script(fake.completion())

        body = sent(client, upstream, input=[*references, {"role": "user", "content": "And?"}])

        assert body["messages"] == [
            {"role": "assistant", "content": "Hello, мир"},
            {"role": "user", "content": "And?"},
        ]

    @pytest.mark.parametrize("id", ["msg_1", "msg_1.AAAA", "fc_1", ""])
    def test_ids_that_carry_nothing_find_nothing(self, client: httpx.Client, id: str) -> None:
        told = [{"type": "item_reference", "id": one} for one in (id, "rs_1.!", "rs_1.AAAA")]

        error = client.post(PATH, json=ask(input=told)).json()["error"]

        assert (error["reason"], error["param"]) == ("unsupported_parameter", "input[0].id")

    def test_nobody_else_gets_an_item_more(self, client: httpx.Client) -> None:
        answer = client.post(PATH, json=ask()).json()

        assert [item["type"] for item in answer["output"]] == ["message"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "reason", "param"),
        [
            ({"previous_response_id": "resp_1"}, "unsupported_parameter", "previous_response_id"),
            ({"conversation": "conv_1"}, "unsupported_parameter", "conversation"),
            ({"background": True}, "unsupported_parameter", "background"),
            ({"prompt": {"id": "p"}}, "unsupported_parameter", "prompt"),
            ({"truncation": "auto"}, "unsupported_parameter", "truncation"),
            ({"top_logprobs": 2}, "unsupported_parameter", "top_logprobs"),
            ({"api_base": "http://x"}, "unsupported_parameter", "api_base"),
            ({"tools": [{"type": "web_search"}]}, "unpriced_parameter", "tools[0].type"),
            ({"tools": [{"type": "function"}]}, "invalid_parameter", "tools[0].name"),
            ({"service_tier": "flex"}, "unpriced_parameter", "service_tier"),
            ({"tool_choice": {"type": "mcp"}}, "unsupported_parameter", "tool_choice"),
            ({"input": None}, "invalid_parameter", "input"),
            ({"input": []}, "invalid_parameter", "input"),
            ({"input": ["x"]}, "invalid_parameter", "input[0]"),
            ({"input": [{"role": "king", "content": "x"}]}, "invalid_parameter", "input[0].role"),
            ({"input": [{"type": "computer_call"}]}, "unsupported_parameter", "input[0].type"),
            (
                {"input": [{"type": "function_call", "name": "f", "arguments": ""}]},
                "invalid_parameter",
                "input[0].call_id",
            ),
            (
                {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
                "unsupported_parameter",
                "input[0].content[0].type",
            ),
            (
                {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
                "invalid_parameter",
                "input[0].content[0].text",
            ),
            ({"max_output_tokens": 0}, "invalid_parameter", "max_output_tokens"),
            ({"temperature": 3}, "invalid_parameter", "temperature"),
            ({"text": {"format": {"type": "json_schema"}}}, "invalid_parameter", "text.format"),
        ],
    )
    def test_what_needs_a_memory_or_is_wrong_is_named(
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
        assert (upstream.calls, shop.usage, shop.holds) == ([], [], 0)

    def test_nothing_can_be_fetched_later(self, client: httpx.Client) -> None:
        response = client.get(f"{PATH}/resp_1")

        assert (response.status_code, response.json()["error"]["reason"]) == (
            404,
            "unsupported_endpoint",
        )


def tool_chunks() -> list[dict[str, Any]]:
    """Return a stream that says something, then calls two functions by turns."""

    def part(index: int, **more: Any) -> dict[str, Any]:
        return fake.chunk({"tool_calls": [{"index": index, **more}]})

    return [
        fake.chunk({"role": "assistant", "content": "Let "}),
        fake.chunk({"content": "me see."}),
        part(0, id="call_1", type="function", function={"name": "weather", "arguments": ""}),
        part(0, function={"arguments": '{"city":'}),
        part(1, id="call_2", type="function", function={"name": "time", "arguments": "{"}),
        part(0, function={"arguments": '"Bonn"}'}),
        part(1, function={"arguments": "}"}),
        fake.chunk({}, finish_reason="tool_calls"),
        fake.chunk(choices=[], usage=fake.usage(7, 2)),
    ]


class TestStream:
    def test_tells_text_in_typed_events(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.stream(["a", "b"], prompt_tokens=7))

        response = client.post(PATH, json=ask(stream=True))

        told = events(response.text)
        assert [one["type"] for one in told] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        last = Response.model_validate(told[-1]["response"])
        assert (last.output_text, last.status) == ("ab", "completed")
        assert last.usage is not None
        assert last.usage.total_tokens == 9
        assert told[-1]["response"]["usage"]["cost"] == 0.000011
        assert {one["item_id"] for one in told if "item_id" in one} == {last.output[0].id}
        assert (shop.last.charged, shop.holds) == (11_000, 0)

    def test_tells_calls_that_take_turns(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        upstream.script(fake.events(tool_chunks()))

        told = events(client.post(PATH, json=ask(stream=True, tools=[WEATHER])).text)

        done = [one for one in told if one["type"] == "response.function_call_arguments.done"]
        assert [(one["name"], one["arguments"]) for one in done] == [
            ("weather", '{"city":"Bonn"}'),
            ("time", "{}"),
        ]
        items = [one["item"] for one in told if one["type"] == "response.output_item.done"]
        assert [item["type"] for item in items] == ["message", "function_call", "function_call"]
        assert told[-1]["response"]["output"] == items
        assert len({item["id"] for item in items}) == 3
        assert shop.last.charged == 11_000

    def test_that_is_cut_short_is_incomplete(
        self, client: httpx.Client, upstream: FakeUpstream
    ) -> None:
        upstream.script(fake.stream(["a"], finish_reason="length"))

        last = events(client.post(PATH, json=ask(stream=True)).text)[-1]

        assert last["type"] == "response.incomplete"
        assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}

    def test_that_breaks_off_fails(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        chunks = [fake.chunk({"content": "12345678"})]
        upstream.script([*fake.events(chunks, done=0), fake.Pause(0.05), fake.Cut()])

        *_, failed, error = events(client.post(PATH, json=ask(stream=True)).text)

        assert failed["type"] == "response.failed"
        response = Response.model_validate(failed["response"])
        assert (response.status, response.output_text) == ("failed", "12345678")
        assert response.error is not None
        assert response.error.code == "server_error"
        assert (error["type"], error["code"]) == ("error", "stream_interrupted")
        assert (shop.last.source, shop.last.output_tokens, shop.holds) == ("count", 2, 0)

    def test_who_hangs_up_pays_for_what_was_written(
        self, client: httpx.Client, upstream: FakeUpstream, shop: Shop
    ) -> None:
        chunks = [fake.chunk({"content": "12345678"})]
        upstream.script([*fake.events(chunks, done=0), fake.Pause(0.4), fake.Cut()])

        with client.stream("POST", PATH, json=ask(stream=True)) as response:
            next(response.iter_raw())

        deadline = time.monotonic() + 30
        while not shop.usage or shop.holds:
            assert time.monotonic() < deadline, "the hold was not closed"
            time.sleep(0.01)
        assert shop.last.output_tokens == 2


class Weather(BaseModel):
    city: str
    degrees: int


class TestOfficialSdk:
    def test_creates_and_streams_against_the_sandbox(
        self, sandbox: SandboxServer, sdk: openai.OpenAI, shop: Shop
    ) -> None:
        """NG-12, NA-01"""
        whole = sdk.responses.create(model="sandbox/echo", input="one two")
        with sdk.responses.stream(model="sandbox/echo", input="one two") as stream:
            deltas = [one.delta for one in stream if one.type == "response.output_text.delta"]
            final = stream.get_final_response()

        assert whole.output_text == final.output_text == "".join(deltas) == "one two"
        # Two words at $1 and two at $2 per million.
        assert [row.charged for row in shop.usage] == [6_000, 6_000]

    def test_parses_a_schema(self, sdk: openai.OpenAI, upstream: FakeUpstream) -> None:
        """NG-12"""
        upstream.script(fake.completion('{"city": "Bonn", "degrees": 7}'))

        parsed = sdk.responses.parse(model="tokens", input="Where?", text_format=Weather)

        assert parsed.output_parsed == Weather(city="Bonn", degrees=7)
        form = upstream.calls[-1].body["response_format"]
        assert (form["type"], form["json_schema"]["name"]) == ("json_schema", "Weather")

    def test_runs_two_steps_of_a_tool_conversation(
        self, sdk: openai.OpenAI, upstream: FakeUpstream
    ) -> None:
        """NG-12, NA-06"""
        upstream.script(fake.events(tool_chunks()), fake.completion("Sunny."))
        with sdk.responses.stream(
            model="tokens",
            input="Weather?",
            tools=[openai.pydantic_function_tool(Weather)["function"] | {"type": "function"}],  # type: ignore[list-item]
        ) as stream:
            first = stream.get_final_response()
        calls = [item for item in first.output if item.type == "function_call"]
        results: list[Any] = [
            {"type": "function_call_output", "call_id": call.call_id, "output": "7"}
            for call in calls
        ]

        second = sdk.responses.create(
            model="tokens",
            input=[*(item.to_dict() for item in first.output), *results],  # type: ignore[list-item]
        )

        assert second.output_text == "Sunny."
        roles = [message["role"] for message in upstream.calls[-1].body["messages"]]
        assert roles == ["assistant", "tool", "tool"]

    def test_raises_where_a_stream_breaks_off(
        self, sdk: openai.OpenAI, upstream: FakeUpstream
    ) -> None:
        """NG-12"""
        chunks = [fake.chunk({"content": "half"})]
        upstream.script([*fake.events(chunks, done=0), fake.Pause(0.05), fake.Cut()])

        with pytest.raises(openai.APIError, match="broke off"):
            list(sdk.responses.create(model="tokens", input="x", stream=True))
