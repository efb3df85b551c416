"""LangChain's ChatOpenAI and OpenAIEmbeddings; runs in its own environment."""

from __future__ import annotations

import openai
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.peers.outcomes import STACK, run

PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TEXT = "Hello out there"


class City(BaseModel):
    """A city."""

    name: str
    districts: int


def sunny(city: str) -> str:
    """Tells the weather in a city."""
    return f"sunny in {city}"


WEATHER = StructuredTool.from_function(sunny, name="weather")


def model(key: str = "", **terms: object) -> ChatOpenAI:
    """Return a chat model as a customer sets it up."""
    return ChatOpenAI(
        model=STACK["model"], base_url=STACK["base_url"], api_key=key or STACK["key"], **terms
    )


def chat() -> None:
    answer = model().invoke(TEXT)
    assert answer.content == TEXT
    assert answer.usage_metadata["total_tokens"] == 15


def chat_stream() -> None:
    pieces = [chunk.content for chunk in model(stream_usage=False).stream(TEXT)]
    assert len(pieces) > 1
    assert "".join(pieces) == TEXT


def chat_usage() -> None:
    whole = AIMessageChunk(content="")
    for chunk in model(stream_usage=True).stream(TEXT):
        whole += chunk
    assert whole.content == TEXT
    assert whole.usage_metadata["total_tokens"] == 15


def chat_tools() -> None:
    able = model().bind_tools([WEATHER])
    question = HumanMessage("How is the weather in Paris?")
    asked = able.invoke([question])
    (call,) = asked.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Paris"})
    result = ToolMessage(WEATHER.invoke(call["args"]), tool_call_id=call["id"])
    assert able.invoke([question, asked, result]).content == "The tool says sunny in Paris."


def chat_tools_stream() -> None:
    whole = AIMessageChunk(content="")
    for chunk in model().bind_tools([WEATHER]).stream("How is the weather in Paris?"):
        whole += chunk
    (call,) = whole.tool_calls
    assert (call["id"], call["name"], call["args"]) == ("call_1", "weather", {"city": "Paris"})


def chat_json() -> None:
    answer = model().with_structured_output(City).invoke("Which city?")
    assert answer == City(name="Paris", districts=7)


def chat_picture() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
    assert model().invoke([HumanMessage(parts)]).content == "I see 1 picture."


def embeddings() -> None:
    # By default the class sends tokens, after fetching OpenAI's vocabulary from the internet.
    embedder = OpenAIEmbeddings(
        model=STACK["embedding_model"],
        base_url=STACK["base_url"],
        api_key=STACK["key"],
        check_embedding_ctx_length=False,
    )
    first, second, third = embedder.embed_documents(["one", "two", "one"])
    assert first == third != second


def responses() -> None:
    able = model(use_responses_api=True)
    assert able.invoke(TEXT).text == TEXT
    assert "".join(chunk.text for chunk in able.stream(TEXT)) == TEXT


def error_401() -> None:
    try:
        model("sk-tg-nonsense").invoke(TEXT)
    except openai.AuthenticationError:
        return
    raise AssertionError("nothing was raised")


if __name__ == "__main__":
    run(
        {
            "chat": chat,
            "chat-stream": chat_stream,
            "chat-usage": chat_usage,
            "chat-tools": chat_tools,
            "chat-tools-stream": chat_tools_stream,
            "chat-json": chat_json,
            "chat-picture": chat_picture,
            "embeddings": embeddings,
            "responses": responses,
            "error-401": error_401,
        }
    )
