"""The fake Gemini is one by the judgement of the official SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from tests.fakes import gemini as fake
from tests.fakes.gemini import FakeGemini

MODEL = "gemini-3-flash-preview"
WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            parameters_json_schema={
                "type": "object",
                "properties": {"city": {"type": "string"}},
            },
        )
    ]
)


@pytest.fixture
def upstream() -> Iterator[FakeGemini]:
    with FakeGemini() as upstream:
        yield upstream


@pytest.fixture
def client(upstream: FakeGemini) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=upstream.url)
    with genai.Client(api_key="key", http_options=options) as client:
        yield client


class TestTheOfficialSdk:
    def test_reads_a_whole_answer(self, client: genai.Client) -> None:
        told = client.models.generate_content(model=MODEL, contents="hi")

        assert told.text == "hello from upstream"
        assert told.usage_metadata is not None
        assert told.usage_metadata.total_token_count == 13

    def test_reads_a_stream(self, client: genai.Client) -> None:
        chunks = list(client.models.generate_content_stream(model=MODEL, contents="hi"))

        assert "".join(chunk.text or "" for chunk in chunks) == "hello from upstream"
        assert chunks[-1].candidates is not None
        assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP

    def test_shows_a_picture(self, client: genai.Client, upstream: FakeGemini) -> None:
        picture = types.Part.from_bytes(data=b"hello", mime_type="image/png")
        told = client.models.generate_content(model=MODEL, contents=[picture, "what?"])

        assert told.text == "hello from upstream"
        [part, _] = upstream.calls[0].body["contents"][0]["parts"]
        # The SDK itself writes one name in camel case and the other in snake case.
        assert set(part["inlineData"].values()) == {"aGVsbG8=", "image/png"}

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_reads_what_came_from_the_cache_and_what_was_thought(
        self, client: genai.Client, upstream: FakeGemini, stream: bool
    ) -> None:
        counts: Any = {
            "promptTokenCount": 50,
            "cachedContentTokenCount": 40,
            "thoughtsTokenCount": 6,
        }
        upstream.script(fake.response(fake.text("hello"), **counts))
        if stream:
            *_, last = client.models.generate_content_stream(model=MODEL, contents="hi")
        else:
            last = client.models.generate_content(model=MODEL, contents="hi")

        usage = last.usage_metadata
        assert usage is not None
        assert (usage.prompt_token_count, usage.cached_content_token_count) == (50, 40)
        assert (usage.candidates_token_count, usage.thoughts_token_count) == (3, 6)
        assert usage.total_token_count == 59

    def test_reads_a_call_in_a_stream(self, client: genai.Client) -> None:
        config = types.GenerateContentConfig(
            tools=[WEATHER],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        chunks = client.models.generate_content_stream(model=MODEL, contents="hi", config=config)

        [call] = [call for chunk in chunks for call in chunk.function_calls or ()]
        assert (call.name, call.args) == ("weather", {"city": "Köln"})

    def test_calls_a_tool_and_goes_on(self, client: genai.Client) -> None:
        config = types.GenerateContentConfig(
            tools=[WEATHER],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            thinking_config=types.ThinkingConfig(include_thoughts=True),
        )
        asked = types.Content(role="user", parts=[types.Part(text="hi")])
        first = client.models.generate_content(model=MODEL, contents=[asked], config=config)
        assert first.function_calls is not None
        assert first.candidates is not None
        [call] = first.function_calls
        assert (call.name, call.args) == ("weather", {"city": "Köln"})
        made = first.candidates[0].content
        assert made is not None

        result = types.FunctionResponse(id=call.id, name="weather", response={"sky": "clear"})
        answered = types.Content(role="user", parts=[types.Part(function_response=result)])
        contents: list[types.ContentUnion] = [asked, made, answered]
        second = client.models.generate_content(model=MODEL, contents=contents, config=config)

        assert second.text == "hello from upstream"

    @pytest.mark.parametrize(
        ("status", "kind", "error"),
        [
            (400, "INVALID_ARGUMENT", errors.ClientError),
            (429, "RESOURCE_EXHAUSTED", errors.ClientError),
            (503, "UNAVAILABLE", errors.ServerError),
        ],
    )
    def test_raises_its_errors(
        self,
        client: genai.Client,
        upstream: FakeGemini,
        status: int,
        kind: str,
        error: type[errors.APIError],
    ) -> None:
        upstream.script(fake.failure(status, kind, "no"))

        with pytest.raises(error) as raised:
            client.models.generate_content(model=MODEL, contents="hi")

        assert (raised.value.code, raised.value.status) == (status, kind)

    def test_reads_that_a_prompt_was_blocked(
        self, client: genai.Client, upstream: FakeGemini
    ) -> None:
        upstream.script(fake.blocked())

        feedback = client.models.generate_content(model=MODEL, contents="hi").prompt_feedback

        assert feedback is not None
        assert feedback.block_reason == types.BlockedReason.SAFETY

    def test_is_refused_what_breaks_a_rule(self, client: genai.Client) -> None:
        config = types.GenerateContentConfig(stop_sequences=list("abcdef"))

        with pytest.raises(errors.ClientError, match="stop sequences"):
            client.models.generate_content(model=MODEL, contents="hi", config=config)
