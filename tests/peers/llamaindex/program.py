"""LlamaIndex's OpenAI class, which takes only names that it knows; runs in its own environment."""

from __future__ import annotations

import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel

from tests.peers.outcomes import STACK, run

TEXT = "Hello out there"


class City(BaseModel):
    """A city."""

    name: str
    districts: int


def sunny(city: str) -> str:
    """Tells the weather in a city."""
    return f"sunny in {city}"


WEATHER = FunctionTool.from_defaults(sunny, name="weather")
HELLO = [ChatMessage(role="user", content=TEXT)]


def model(key: str = "") -> OpenAI:
    """Return a model as a customer sets it up: by the alias of a name with a slash."""
    return OpenAI(model=STACK["alias"], api_base=STACK["base_url"], api_key=key or STACK["key"])


def chat() -> None:
    assert model().chat(HELLO).message.content == TEXT
    assert model().complete(TEXT).text == TEXT


def chat_stream() -> None:
    pieces = [response.delta or "" for response in model().stream_chat(HELLO)]
    assert len(pieces) > 1
    assert "".join(pieces) == TEXT


def chat_tools() -> None:
    able = model()
    response = able.predict_and_call([WEATHER], user_msg="How is the weather in Paris?")
    assert response.response == "sunny in Paris"

    question = ChatMessage(role="user", content="How is the weather in Paris?")
    asked = able.chat_with_tools([WEATHER], chat_history=[question])
    (call,) = able.get_tool_calls_from_response(asked)
    assert (call.tool_name, call.tool_kwargs) == ("weather", {"city": "Paris"})
    result = ChatMessage(
        role="tool", content="sunny in Paris", additional_kwargs={"tool_call_id": call.tool_id}
    )
    history = [question, asked.message, result]
    answer = able.chat_with_tools([WEATHER], chat_history=history)
    assert answer.message.content == "The tool says sunny in Paris."


def chat_tools_stream() -> None:
    able = model()
    *_, last = able.stream_chat_with_tools([WEATHER], user_msg="How is the weather?")
    (call,) = able.get_tool_calls_from_response(last)
    assert (call.tool_id, call.tool_kwargs) == ("call_1", {"city": "Paris"})


def chat_json() -> None:
    answer = model().as_structured_llm(City).complete("Which city?")
    assert answer.raw == City(name="Paris", districts=7)


def error_401() -> None:
    try:
        model("sk-tg-nonsense").chat(HELLO)
    except openai.AuthenticationError:
        return
    raise AssertionError("nothing was raised")


if __name__ == "__main__":
    run(
        {
            "chat": chat,
            "chat-stream": chat_stream,
            "chat-tools": chat_tools,
            "chat-tools-stream": chat_tools_stream,
            "chat-json": chat_json,
            "error-401": error_401,
        }
    )
