"""The official OpenAI SDK for Python: chats in every form."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
from pydantic import BaseModel

from tests.conformance.shapes import proves
from tests.conformance.stack import ALIAS, MODEL, Stack

CLIENT = "openai-python"

PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class City(BaseModel):
    """What an answer is parsed into."""

    name: str
    districts: int


def says(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


class TestChat:
    @proves("chat")
    def test_answers_under_the_name_that_was_asked_for(self, client: openai.OpenAI) -> None:
        answer = client.chat.completions.create(model=ALIAS, messages=says("Hello there"))

        assert answer.choices[0].message.content == "Hello there"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.model == ALIAS
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 5)

    @proves("chat-stream")
    def test_streams_the_same_text_without_usage(self, client: openai.OpenAI) -> None:
        stream = client.chat.completions.create(
            model=MODEL, messages=says("Hello out there"), stream=True
        )
        chunks = list(stream)

        assert all(chunk.choices for chunk in chunks)
        assert {chunk.model for chunk in chunks} == {MODEL}
        assert len({chunk.id for chunk in chunks}) == 1
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello out there"
        assert chunks[-1].choices[0].finish_reason == "stop"

    @proves("chat-usage")
    def test_streams_usage_last_where_it_is_asked_for(self, client: openai.OpenAI) -> None:
        stream = client.chat.completions.create(
            model=MODEL,
            messages=says("Hello"),
            stream=True,
            stream_options={"include_usage": True},
        )
        *others, last = stream

        assert all(chunk.usage is None for chunk in others)
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.total_tokens == 15

    @proves("chat-helper")
    def test_the_helper_of_streams_puts_the_message_together(self, client: openai.OpenAI) -> None:
        with client.chat.completions.stream(
            model=MODEL, messages=says("Hello out there")
        ) as stream:
            deltas = [event.delta for event in stream if event.type == "content.delta"]
            final = stream.get_final_completion()

        assert len(deltas) > 1
        assert "".join(deltas) == final.choices[0].message.content == "Hello out there"

    def test_the_asynchronous_client_streams_too(self, stack: Stack) -> None:
        async def read() -> str:
            async with (
                openai.AsyncOpenAI(api_key=stack.key, base_url=stack.base_url) as client,
                client.chat.completions.stream(model=MODEL, messages=says("Hello")) as stream,
            ):
                final = await stream.get_final_completion()
            return final.choices[0].message.content or ""

        assert asyncio.run(read()) == "Hello"

    @proves("chat-choices")
    def test_several_choices_come_in_order(self, client: openai.OpenAI) -> None:
        answer = client.chat.completions.create(model=MODEL, messages=says("Hello"), n=3)

        assert [choice.index for choice in answer.choices] == [0, 1, 2]

    @proves("chat-picture")
    def test_pictures_reach_the_model(self, client: openai.OpenAI) -> None:
        parts = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        ]
        messages: list[Any] = [{"role": "user", "content": parts}]
        answer = client.chat.completions.create(model=MODEL, messages=messages)

        assert answer.choices[0].message.content == "I see 1 picture."


class TestTools:
    @proves("chat-tools")
    def test_a_call_and_its_result_make_an_answer(self, client: openai.OpenAI) -> None:
        messages = says("How is the weather in Paris?")
        asked = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
        message = asked.choices[0].message
        said: Any = message.to_dict()
        assert message.tool_calls is not None
        call = message.tool_calls[0]
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        assert asked.choices[0].finish_reason == "tool_calls"

        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        answer = client.chat.completions.create(
            model=MODEL, messages=[*messages, said, result], tools=[WEATHER]
        )

        assert answer.choices[0].message.content == "The tool says sunny."

    @proves("chat-tools-stream")
    def test_the_helper_puts_a_call_together(self, client: openai.OpenAI) -> None:
        with client.chat.completions.stream(
            model=MODEL, messages=says("How is the weather?"), tools=[WEATHER]
        ) as stream:
            pieces = [event for event in stream if event.type.startswith("tool_calls.")]
            final = stream.get_final_completion()

        calls = final.choices[0].message.tool_calls
        assert len(pieces) > 2
        assert calls is not None
        assert [(call.id, call.function.name) for call in calls] == [("call_1", "weather")]
        assert calls[0].function.parsed_arguments == {"city": "Paris"}


class TestParse:
    @proves("chat-json")
    def test_an_answer_is_an_object_of_the_callers_class(self, client: openai.OpenAI) -> None:
        answer = client.chat.completions.parse(
            model=MODEL, messages=says("Which city?"), response_format=City
        )

        assert answer.choices[0].message.parsed == City(name="Paris", districts=7)

    def test_also_of_a_stream(self, client: openai.OpenAI) -> None:
        with client.chat.completions.stream(
            model=MODEL, messages=says("Which city?"), response_format=City
        ) as stream:
            stream.until_done()
            final = stream.get_final_completion()

        assert final.choices[0].message.parsed == City(name="Paris", districts=7)
