"""The bodies that callers send, as JSON Schema: the gateway's own types, joined and named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from proxy.surfaces import generate, prototypes
from proxy.wire import chat, chatfields, completions, embeddings, images, responses

Schema = dict[str, Any]
REF = "#/components/schemas/{name}"
MERELY_CHAT = frozenset(
    {
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "modalities",
        "web_search_options",
        "top_logprobs",
        "functions",
        "function_call",
        "verbosity",
        "reasoning_effort",
    }
)
# They are refused; unknown fields are not described either.
REFUSED_COMPLETIONS = frozenset({"suffix", "best_of", "logprobs"})
REFUSED_RESPONSES = frozenset({"background", "truncation", "top_logprobs"})
REFUSED_GENERATE = frozenset((*generate.PLACELESS, "top_logprobs", "parallel_tool_calls"))
TEXT_PART: Schema = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
PICTURE_PART: Schema = {
    "type": "object",
    "properties": {
        "type": {"const": "image_url"},
        "image_url": {
            "type": "object",
            "properties": {
                "url": {"type": "string", "description": "https, or a data URL."},
                "detail": {"enum": ["auto", "low", "high"]},
            },
            "required": ["url"],
        },
    },
    "required": ["type", "image_url"],
}
# What the types leave to code: the same rules in JSON Schema.
RULES: Mapping[str, Schema] = {
    "content": {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"anyOf": [TEXT_PART, PICTURE_PART]}},
            {"type": "null"},
        ]
    },
    "stop": {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "maxItems": chat.MOST_STOPS},
            {"type": "null"},
        ]
    },
    "tools": {
        "type": ["array", "null"],
        "items": {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": kind},
                        kind: {"$ref": REF.format(name=kind.capitalize())},
                    },
                    "required": ["type", kind],
                }
                for kind in ("function", "custom")
            ]
        },
    },
    "service_tier": {"enum": ["auto", "default", None]},
    "modalities": {"type": ["array", "null"], "items": {"const": "text"}, "maxItems": 1},
    "prompts": {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1},
        ]
    },
    "items": {
        "anyOf": [
            {"type": "string"},
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "role": {"enum": ["user", "assistant", "system", "developer"]},
                        "content": {"type": "string"},
                    },
                    "required": ["role", "content"],
                },
                "minItems": 1,
            },
        ]
    },
    "functions": {
        "type": ["array", "null"],
        "items": {
            "type": "object",
            "properties": {"type": {"const": "function"}, "name": {"type": "string"}},
            "required": ["type", "name"],
        },
    },
    "input": {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "minItems": 1,
                "maxItems": embeddings.MOST_INPUTS,
            },
            {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            {
                "type": "array",
                "items": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0},
                    "minItems": 1,
                },
                "minItems": 1,
                "maxItems": embeddings.MOST_INPUTS,
            },
        ]
    },
}
MEANINGS: Mapping[str, str] = {
    "model": "A slug of `GET models`, or one of its aliases.",
    "models": "More models to try, in order, where the first cannot serve.",
    "provider": "What you ask of routing.",
    "messages": "The conversation so far; nothing is remembered between requests.",
    "stream": "Answer as server-sent events.",
    "temperature": "0 to 2.",
    "max_tokens": "The most tokens to generate; none: the model's own limit.",
    "stop": "Up to 10 sequences at which generation ends; a model may take fewer.",
    "seed": "The same number asks for the same answer.",
    "tools": "Functions that the model may call.",
    "response_format": '`{"type": "json_object"}`, or a JSON Schema.',
    "system": "The same as a first message of the system.",
    "async": "Answer `pending` at once; fetch the result with the status call.",
    "reasoning": "How hard to think, and whether to show it.",
    "structured_outputs": "A JSON Schema of the output; it excludes `response_format`.",
    "repetition_penalty": "Goes to models that declare it.",
    "n": "How many answers, or pictures.",
    "size": "`auto` or WIDTHxHEIGHT, as the model offers it.",
    "quality": "`auto`, or what the model offers: low, medium, high, standard, hd.",
    "input": "One prompt or many, as text or tokens.",
}


def schemas() -> dict[str, Schema]:
    """Return all request bodies by name, with what they refer to."""
    made = (
        _of(chatfields.ChatRequest) | _of(embeddings.EmbeddingsRequest) | _of(images.ImagesRequest)
    )
    chats: Schema = made["ChatRequest"]
    for name in ("stop", "tools", "service_tier", "modalities"):
        chats["properties"][name] = RULES[name]
    del made["Tool"]
    made["Message"]["properties"]["content"] = RULES["content"]
    made["EmbeddingsRequest"]["properties"]["input"] = RULES["input"]
    legacy = _joined(chats, _of(completions.CompletionsRequest)["CompletionsRequest"], MERELY_CHAT)
    legacy["properties"]["prompt"] = RULES["prompts"]
    for name in REFUSED_COMPLETIONS:
        del legacy["properties"][name]
    made |= {"CompletionsRequest": legacy, **_generate(chats), **_prototypes(chats)}
    made |= _responses(chats)
    for shape in made.values():
        _explain(shape)
    return made


def _of(shape: type[Struct], **names: str) -> dict[str, Schema]:
    """Return a type and what it refers to, some of it under other names."""
    _, made = msgspec.json.schema_components([shape], ref_template=REF)
    text = msgspec.json.encode(made).decode()
    for name, ours in names.items():
        text = text.replace(f'"{REF.format(name=name)}"', f'"{REF.format(name=ours)}"')
    shapes: dict[str, Schema] = msgspec.json.decode(text)
    return {names.get(name, name): shape for name, shape in shapes.items()}


def _generate(chats: Schema) -> dict[str, Schema]:
    made = _of(generate.GenerateRequest, Message="GenerateMessage")
    made["GenerateMessage"]["properties"]["content"] = RULES["content"]
    made["GenerateRequest"] = _joined(chats, made["GenerateRequest"], REFUSED_GENERATE)
    return made


def _responses(chats: Schema) -> dict[str, Schema]:
    made = _of(responses.ResponsesRequest, Reasoning="ResponsesReasoning")
    other = frozenset(chats["properties"].keys() - {*responses.SAME})
    body = _joined(chats, made["ResponsesRequest"], other)
    body["properties"] |= {"input": RULES["items"], "tools": RULES["functions"]}
    for name in REFUSED_RESPONSES:
        del body["properties"][name]
    return made | {"ResponsesRequest": body}


def _prototypes(chats: Schema) -> dict[str, Schema]:
    made = _of(prototypes.PrototypeRequest)
    body = _joined(chats, made["PrototypeRequest"], frozenset())
    empty = {"type": "object", "maxProperties": 0, "description": "Not given."}
    body["properties"] = {
        name: rule if name in prototypes.REQUIRED else {"anyOf": [rule, empty]}
        for name, rule in body["properties"].items()
    }
    return made | {"PrototypeRequest": body}


def _joined(base: Schema, more: Schema, without: frozenset[str]) -> Schema:
    """Return one object with the properties of two."""
    properties = {
        name: dict(rule) for name, rule in base["properties"].items() if name not in without
    }
    required = [name for name in base["required"] if name not in without]
    return {
        "title": more["title"],
        "type": "object",
        "properties": properties | more["properties"],
        "required": list(dict.fromkeys((*required, *more["required"]))),
    }


def _explain(shape: Schema) -> None:
    """Give properties their meanings; ``null`` is everywhere the same as not given."""
    shape["description"] = "Unknown fields are allowed; they travel to the provider unread."
    for name, rule in list(shape.get("properties", {}).items()):
        told = {part: value for part, value in rule.items() if (part, value) != ("default", None)}
        if name in MEANINGS:
            told = {"description": MEANINGS[name]} | told
        shape["properties"][name] = told
