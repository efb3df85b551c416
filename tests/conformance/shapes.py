"""Which shapes of requests there are, and which client sends which: the table's two sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

SHAPES: Mapping[str, str] = {
    "chat": "Chat",
    "chat-stream": "Chat, streamed",
    "chat-usage": "Chat, streamed, with usage",
    "chat-helper": "Chat, streamed through the SDK's helper",
    "chat-choices": "Chat with several choices",
    "chat-tools": "Tool call and its result",
    "chat-tools-stream": "Tool call, streamed",
    "chat-json": "Chat answered in a JSON Schema",
    "chat-picture": "Chat about a picture",
    "completions": "Completion",
    "completions-stream": "Completion, streamed",
    "embeddings": "Embeddings",
    "images": "Picture",
    "images-stream": "Picture, streamed with a partial one",
    "responses": "Response",
    "responses-stream": "Response, streamed",
    "responses-tools": "Response with a tool call and its result",
    "responses-tools-stream": "Response with a tool call, streamed",
    "responses-json": "Response in a JSON Schema",
    "models": "List of models",
    "model": "One model, its name with a slash",
    "request-id": "Request id of answers and errors",
    "error-400": "400: a wrong parameter",
    "error-401": "401: a wrong key",
    "error-402": "402: too little money; not retried",
    "error-403": "403: the key lacks the scope",
    "error-404": "404: no such model",
    "error-409": "409: an Idempotency-Key used with another body; not retried",
    "error-429": "429: too many requests; retried after Retry-After",
    "error-429-cap": "429: a spending cap; not retried",
    "error-429-reserved": "429: a cap held by another call; retried until it is free",
    "error-502": "502: the provider failed; retried",
    "error-stream": "A stream that breaks off is an error",
    "timeout": "The client's timeout; retried",
}
OPENAI = tuple(SHAPES)


@dataclass(frozen=True, slots=True)
class Client:
    """One client of the table: its column's title and what it sends."""

    title: str
    shapes: tuple[str, ...]


CLIENTS: Mapping[str, Client] = {
    "openai-python": Client("OpenAI Python", OPENAI),
    "openai-node": Client("OpenAI Node", OPENAI),
    "ai-sdk": Client(
        "Vercel AI SDK",
        (
            "chat",
            "chat-stream",
            "chat-tools",
            "embeddings",
            "images",
            "responses",
            "responses-stream",
            "responses-tools",
            "responses-tools-stream",
            "responses-json",
            "error-401",
            "error-502",
        ),
    ),
    "langchain": Client(
        "LangChain",
        (
            "chat",
            "chat-stream",
            "chat-usage",
            "chat-tools",
            "chat-tools-stream",
            "chat-json",
            "chat-picture",
            "embeddings",
            "responses",
            "error-401",
        ),
    ),
    "llamaindex": Client(
        "LlamaIndex",
        (
            "chat",
            "chat-stream",
            "chat-tools",
            "chat-tools-stream",
            "chat-json",
            "error-401",
        ),
    ),
}

Test = TypeVar("Test", bound=Callable[..., object])
PROVEN: set[str] = set()


def proves(shape: str) -> Callable[[Test], Test]:
    """Mark a test of the OpenAI SDK for Python as the proof of one shape."""
    assert shape in SHAPES, shape
    PROVEN.add(shape)

    def mark(test: Test) -> Test:
        vars(test)["shape"] = shape
        return test

    return mark
