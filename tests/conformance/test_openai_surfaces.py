"""The official OpenAI SDK for Python: completions, embeddings, pictures, responses, models."""

from __future__ import annotations

import base64
import json
from typing import Any

import openai
import pytest

from tests.conformance.shapes import proves
from tests.conformance.stack import ALIAS, MODEL, Stack
from tests.conformance.test_openai_chat import WEATHER, City

CLIENT = "openai-python"

TOOL: Any = {"type": "function", **WEATHER["function"]}
PNG = b"\x89PNG"


class TestCompletions:
    @proves("completions")
    def test_a_prompt_is_completed(self, client: openai.OpenAI) -> None:
        answer = client.completions.create(model=MODEL, prompt="Once upon")

        assert answer.object == "text_completion"
        assert answer.choices[0].text == "Once upon"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 15

    @proves("completions-stream")
    def test_streams_the_same_text(self, client: openai.OpenAI) -> None:
        stream = client.completions.create(model=MODEL, prompt="Once upon", stream=True)

        assert "".join(event.choices[0].text for event in stream) == "Once upon"


class TestEmbeddings:
    @proves("embeddings")
    def test_vectors_come_in_the_order_of_the_texts(
        self, client: openai.OpenAI, stack: Stack
    ) -> None:
        texts = ["one", "two", "one"]
        packed = client.embeddings.create(model=stack.embedding_model, input=texts)
        plain = client.embeddings.create(
            model=stack.embedding_model, input=texts, encoding_format="float"
        )

        first, second, third = (each.embedding for each in packed.data)
        assert first == third != second
        assert first == pytest.approx(plain.data[0].embedding, abs=1e-6)
        assert packed.usage.total_tokens > 0

    def test_tokens_are_taken_instead_of_texts(self, client: openai.OpenAI, stack: Stack) -> None:
        answer = client.embeddings.create(model=stack.embedding_model, input=[[1, 2], [3]])

        assert [each.index for each in answer.data] == [0, 1]


class TestImages:
    @proves("images")
    def test_a_picture_can_be_decoded(self, client: openai.OpenAI, stack: Stack) -> None:
        answer = client.images.generate(
            model=stack.image_model, prompt="a cat", size="1024x1024", quality="low"
        )

        assert answer.data is not None
        assert base64.b64decode(answer.data[0].b64_json or "").startswith(PNG)

    @proves("images-stream")
    def test_partial_pictures_come_before_the_whole(
        self, client: openai.OpenAI, stack: Stack
    ) -> None:
        stream = client.images.generate(
            model=stack.image_model,
            prompt="a cat",
            size="1024x1024",
            quality="low",
            stream=True,
            partial_images=1,
        )
        events = list(stream)

        assert [event.type for event in events] == [
            "image_generation.partial_image",
            "image_generation.completed",
        ]
        assert base64.b64decode(events[-1].b64_json).startswith(PNG)


class TestResponses:
    @proves("responses")
    def test_a_text_is_answered(self, client: openai.OpenAI) -> None:
        answer = client.responses.create(model=ALIAS, instructions="Be brief.", input="Hello there")

        assert answer.output_text == "Hello there"
        assert (answer.status, answer.model) == ("completed", ALIAS)
        assert answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5)

    @proves("responses-stream")
    def test_the_helper_of_streams_puts_the_response_together(self, client: openai.OpenAI) -> None:
        with client.responses.stream(model=MODEL, input="Hello out there") as stream:
            deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
            final = stream.get_final_response()

        assert len(deltas) > 1
        assert "".join(deltas) == final.output_text == "Hello out there"

    def test_events_are_numbered_and_end_with_the_whole(self, client: openai.OpenAI) -> None:
        events = list(client.responses.create(model=MODEL, input="Hello", stream=True))

        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert (events[0].type, events[-1].type) == ("response.created", "response.completed")

    @proves("responses-tools")
    def test_a_call_and_its_result_make_an_answer(self, client: openai.OpenAI) -> None:
        question: Any = {"role": "user", "content": "How is the weather in Paris?"}
        asked = client.responses.create(model=MODEL, input=[question], tools=[TOOL])
        (call,) = asked.output
        assert call.type == "function_call"
        assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Paris"})

        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        conversation: Any = [question, call.to_dict(), result]
        answer = client.responses.create(model=MODEL, input=conversation, tools=[TOOL])

        assert answer.output_text == "The tool says sunny."

    @proves("responses-tools-stream")
    def test_the_helper_puts_a_call_together(self, client: openai.OpenAI) -> None:
        with client.responses.stream(model=MODEL, input="Weather?", tools=[TOOL]) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()

        (call,) = final.output
        assert "response.function_call_arguments.delta" in kinds
        assert call.type == "function_call"
        assert (call.call_id, json.loads(call.arguments)) == ("call_1", {"city": "Paris"})

    @proves("responses-json")
    def test_an_answer_is_an_object_of_the_callers_class(self, client: openai.OpenAI) -> None:
        answer = client.responses.parse(model=MODEL, input="Which city?", text_format=City)

        assert answer.output_parsed == City(name="Paris", districts=7)


class TestModels:
    @proves("models")
    def test_the_list_names_every_model_once(self, client: openai.OpenAI) -> None:
        models = list(client.models.list())

        names = [model.id for model in models]
        assert len(names) == len(set(names))
        assert {MODEL, "sandbox/echo", "sandbox/embedding", "sandbox/image"} <= set(names)
        assert all(model.object == "model" and model.owned_by for model in models)

    @proves("model")
    def test_one_is_found_by_its_name_with_a_slash(self, client: openai.OpenAI) -> None:
        assert client.models.retrieve(MODEL).id == MODEL
        assert client.models.retrieve(ALIAS).id == ALIAS
