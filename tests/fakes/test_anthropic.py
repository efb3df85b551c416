"""The fake Anthropic is one by the judgement of the official SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Base64ImageSourceParam, MessageParam, ToolParam

from tests.fakes import anthropic as fake
from tests.fakes.anthropic import FakeAnthropic
from tests.fakes.replies import STREAM_HEAD

WEATHER: ToolParam = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
MODEL = "claude-opus-4-6"


@pytest.fixture
def upstream() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as upstream:
        yield upstream


@pytest.fixture
def client(upstream: FakeAnthropic) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=upstream.url, api_key="key", max_retries=0) as client:
        yield client


def asked(words: str = "hi") -> list[MessageParam]:
    """Return a conversation of one turn."""
    return [{"role": "user", "content": words}]


class TestTheOfficialSdk:
    def test_reads_a_whole_message(self, client: anthropic.Anthropic) -> None:
        message = client.messages.create(model=MODEL, max_tokens=9, messages=asked())

        assert [block.type for block in message.content] == ["text"]
        assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 3)

    def test_streams_a_tool_call_and_goes_on(self, client: anthropic.Anthropic) -> None:
        with client.messages.stream(
            model=MODEL, max_tokens=9, messages=asked(), tools=[WEATHER]
        ) as stream:
            message = stream.get_final_message()
        use = message.content[-1]
        assert use.type == "tool_use"
        assert (message.stop_reason, use.input) == ("tool_use", {"city": "Köln"})

        result: MessageParam = {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "mild"}],
        }
        with client.messages.stream(
            model=MODEL,
            max_tokens=9,
            messages=[*asked(), message.to_param(), result],
            tools=[WEATHER],
        ) as stream:
            assert stream.get_final_text() == "hello from upstream"

    def test_shows_a_picture(self, client: anthropic.Anthropic, upstream: FakeAnthropic) -> None:
        source: Base64ImageSourceParam = {
            "type": "base64",
            "media_type": "image/png",
            "data": "aGVsbG8=",
        }
        turn: MessageParam = {
            "role": "user",
            "content": [{"type": "image", "source": source}, {"type": "text", "text": "what?"}],
        }
        message = client.messages.create(model=MODEL, max_tokens=9, messages=[turn])

        assert message.stop_reason == "end_turn"
        assert upstream.calls[0].body["messages"][0]["content"][0]["source"] == source

    def test_is_refused_a_picture_that_is_none(self, client: anthropic.Anthropic) -> None:
        turn: Any = {"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}

        with pytest.raises(anthropic.BadRequestError, match="messages"):
            client.messages.create(model=MODEL, max_tokens=9, messages=[turn])

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_reads_what_came_from_the_cache_and_went_to_it(
        self, client: anthropic.Anthropic, upstream: FakeAnthropic, stream: bool
    ) -> None:
        counts: Any = {"cache_read_input_tokens": 40, "cache_creation_input_tokens": 5}
        upstream.script(fake.message(fake.text("hello"), input_tokens=7, **counts))
        ask: Any = {"model": MODEL, "max_tokens": 9, "messages": asked()}
        if stream:
            with client.messages.stream(**ask) as told:
                usage = told.get_final_message().usage
        else:
            usage = client.messages.create(**ask).usage

        assert (usage.input_tokens, usage.output_tokens) == (7, 3)
        assert usage.cache_read_input_tokens == 40
        assert usage.cache_creation_input_tokens == 5

    def test_gets_thoughts_with_their_signature(self, client: anthropic.Anthropic) -> None:
        with client.messages.stream(
            model=MODEL, max_tokens=9, messages=asked(), thinking={"type": "adaptive"}
        ) as stream:
            thought = stream.get_final_message().content[0]

        assert thought.type == "thinking"
        assert (thought.thinking, thought.signature) == ("hmm", "sig-1")

    @pytest.mark.parametrize(
        ("status", "kind", "error"),
        [
            (429, "rate_limit_error", anthropic.RateLimitError),
            (529, "overloaded_error", anthropic.InternalServerError),
            (400, "invalid_request_error", anthropic.BadRequestError),
        ],
    )
    def test_raises_its_errors(
        self,
        client: anthropic.Anthropic,
        upstream: FakeAnthropic,
        status: int,
        kind: str,
        error: type[anthropic.APIStatusError],
    ) -> None:
        upstream.script(fake.failure(status, kind, "no"))

        with pytest.raises(error) as raised:
            client.messages.create(model=MODEL, max_tokens=9, messages=asked())

        assert raised.value.status_code == status

    def test_is_refused_what_breaks_a_rule(self, client: anthropic.Anthropic) -> None:
        budget = {"type": "enabled", "budget_tokens": 2000}
        with pytest.raises(anthropic.BadRequestError, match="budget_tokens"):
            client.messages.create(
                model=MODEL, max_tokens=9, messages=asked(), extra_body={"thinking": budget}
            )


class TestErrorsInStreams:
    def test_reach_the_official_sdk(
        self, client: anthropic.Anthropic, upstream: FakeAnthropic
    ) -> None:
        error = {"type": "overloaded_error", "message": "Overloaded"}
        upstream.script(
            [STREAM_HEAD, fake.start({"input_tokens": 1}), fake.event("error", error=error)]
        )

        with (
            pytest.raises(anthropic.APIError),
            client.messages.stream(model=MODEL, max_tokens=9, messages=asked()) as stream,
        ):
            stream.get_final_message()
