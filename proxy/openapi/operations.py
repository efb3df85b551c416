"""Every operation of the gateway: what it takes, what it answers, how it can refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

HELLO = [{"role": "user", "content": "Say hello."}]
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
ID = "01k2m3n4p5q6r7s8t9v0w1x2y3"
# Whatever asks for a key: two different ones, none, one that may not.
KEYED = (400, 401, 403, 500, 503)
FOUND = (*KEYED, 404)
PAID = (400, 401, 402, 403, 404, 408, 409, 413, 415, 429, 500, 502, 503)


class Operation(Struct, frozen=True, kw_only=True):
    """One path below a base and its method."""

    path: str
    method: str
    name: str
    summary: str
    answer: str
    refusals: tuple[int, ...]
    request: str = ""
    example: Mapping[str, Any] = {}
    answered: Mapping[str, Any] = {}
    streamed: str = ""
    query: str = ""
    keyed: bool = True
    limited: bool = True


def _call(**terms: Any) -> Operation:
    return Operation(**({"method": "post", "refusals": PAID} | terms))


def _reading(**terms: Any) -> Operation:
    return Operation(**({"method": "get"} | terms))


def _events(*told: Mapping[str, Any], named: bool = False, done: bool = True) -> str:
    """Return a stream as it is written."""
    lines = []
    for each in told:
        head = f"event: {each['type']}\n" if named else ""
        lines.append(f"{head}data: {json.dumps(each)}\n\n")
    return "".join([*lines, *(["data: [DONE]\n\n"] if done else [])])


def _chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {
        "id": f"chatcmpl-{ID}",
        "object": "chat.completion.chunk",
        "created": 1772971200,
        "model": "openai/gpt-4o",
        "choices": [choice],
    }


CHAT_EXAMPLE = {"model": "openai/gpt-4o", "messages": HELLO}
CHAT_ANSWER = {
    "id": f"chatcmpl-{ID}",
    "object": "chat.completion",
    "created": 1772971200,
    "model": "openai/gpt-4o",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello!"},
            "finish_reason": "stop",
        }
    ],
    "usage": {**USAGE, "cost": 0.00006},
}
CHAT_STREAM = _events(_chunk({"role": "assistant", "content": "Hello!"}), _chunk({}, "stop"))
MODEL_ANSWER = {
    "id": "openai/gpt-4o",
    "object": "model",
    "created": 1715367049,
    "owned_by": "openai",
    "pricing": {"prompt": "0.0025", "completion": "0.0100"},
    "context_length": 128000,
}
GENERATION = {
    "id": f"gen_{ID}",
    "status": "completed",
    "model": "claude-sonnet-4.5",
    "content": "Hello!",
    "tokens_used": 3,
    "balance_remaining": 297,
    "usage": {"prompt_tokens": 142, "completion_tokens": 387, "total_tokens": 529},
    "created_at": "2026-03-08T12:00:00Z",
}

# Served under both bases.
COMMON: tuple[Operation, ...] = (
    _call(
        path="chat/completions",
        name="create_chat_completion",
        summary="Continue a conversation",
        request="ChatRequest",
        answer="ChatCompletion",
        streamed=CHAT_STREAM,
        example=CHAT_EXAMPLE,
        answered=CHAT_ANSWER,
    ),
    _call(
        path="completions",
        name="create_completion",
        summary="Continue a text (legacy)",
        request="CompletionsRequest",
        answer="TextCompletion",
        streamed=_events(
            {
                "id": f"cmpl-{ID}",
                "object": "text_completion",
                "created": 1772971200,
                "model": "openai/gpt-4o",
                "choices": [
                    {"text": "Hello!", "index": 0, "logprobs": None, "finish_reason": "stop"}
                ],
            }
        ),
        example={"model": "openai/gpt-4o", "prompt": "Say hello."},
        answered={
            "id": f"cmpl-{ID}",
            "object": "text_completion",
            "created": 1772971200,
            "model": "openai/gpt-4o",
            "choices": [{"text": "Hello!", "index": 0, "logprobs": None, "finish_reason": "stop"}],
            "usage": {**USAGE, "cost": 0.00006},
        },
    ),
    _call(
        path="responses",
        name="create_response",
        summary="Continue a conversation that comes whole; nothing is kept",
        request="ResponsesRequest",
        answer="Response",
        streamed=_events(
            {"type": "response.output_text.delta", "output_index": 0, "delta": "Hello!"},
            named=True,
            done=False,
        ),
        example={"model": "openai/gpt-4o", "input": "Say hello."},
    ),
    _call(
        path="embeddings",
        name="create_embeddings",
        summary="Turn texts into vectors",
        request="EmbeddingsRequest",
        answer="Embeddings",
        example={"model": "openai/text-embedding-3-small", "input": "hello"},
        answered={
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.25]}],
            "model": "openai/text-embedding-3-small",
            "usage": {"prompt_tokens": 1, "total_tokens": 1, "cost": 0.00000002},
        },
    ),
    _call(
        path="images/generations",
        name="create_image",
        summary="Make pictures",
        request="ImagesRequest",
        answer="Pictures",
        streamed=_events(
            {"type": "image_generation.completed", "b64_json": "iVBORw0KGgo="},
            named=True,
            done=False,
        ),
        example={"model": "gpt-image-1", "prompt": "A tollgate.", "quality": "auto"},
        answered={"created": 1772971200, "data": [{"b64_json": "iVBORw0KGgo="}]},
    ),
    _reading(
        path="models",
        name="list_models",
        summary="List the models that the key may call, with prices",
        answer="Models",
        refusals=KEYED,
        answered={"object": "list", "data": [MODEL_ANSWER]},
    ),
    _reading(
        path="models/{id}",
        name="get_model",
        summary="One model, by its slug or an alias",
        answer="Model",
        refusals=FOUND,
        answered=MODEL_ANSWER,
    ),
    _reading(
        path="generation",
        name="get_receipt",
        summary="The receipt of one call",
        answer="ReceiptAnswer",
        refusals=FOUND,
        query="The call's id: `req_…`, `chatcmpl-…` or `gen_…`.",
    ),
    _reading(
        path="key",
        name="get_key",
        summary="The calling key, its limits and what it has used",
        answer="KeyAnswer",
        refusals=KEYED,
    ),
    _reading(
        path="credits",
        name="get_credits",
        summary="What the workspace has left",
        answer="CreditsAnswer",
        refusals=KEYED,
    ),
)
ALONE: tuple[Operation, ...] = (
    _call(
        path="/api/v2/generate",
        name="generate",
        summary="Generate a text, paid in platform tokens",
        request="GenerateRequest",
        answer="Generation",
        streamed=_events(
            {"id": f"gen_{ID}", "model": "claude-sonnet-4.5", "delta": "Hello!"}, GENERATION
        ),
        example={"model": "claude-sonnet-4.5", "messages": HELLO, "temperature": 0.7},
        answered=GENERATION,
    ),
    _reading(
        path="/api/v2/generate/status",
        name="get_generation",
        summary="A generation of the last 24 hours",
        answer="Generation",
        refusals=FOUND,
        query="The generation's id, `gen_…`.",
        answered=GENERATION,
        limited=False,
    ),
    _call(
        path="/api/ds-prototypes/chat/completions",
        name="create_prototype_completion",
        summary="Continue a conversation; an empty object means that a field is not given",
        request="PrototypeRequest",
        answer="ChatCompletion",
        streamed=CHAT_STREAM,
        example=CHAT_EXAMPLE | {"temperature": {}, "reasoning": {"effort": "low"}},
        answered=CHAT_ANSWER,
    ),
    _reading(
        path="/api/ds-prototypes/health",
        name="get_prototype_health",
        summary="Whether the service is ready, for a key and its workspace",
        answer="Health",
        refusals=KEYED,
        answered={"status": "ok"},
        limited=False,
    ),
    _reading(
        path="/livez",
        name="get_livez",
        summary="Whether the process runs",
        answer="Health",
        refusals=(500, 503),
        answered={"status": "ok"},
        keyed=False,
        limited=False,
    ),
)
