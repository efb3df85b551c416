"""Every parameter of the official SDK is typed here, refused with a reason, or named as ignored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
from msgspec import Struct
from openai.types import completion_create_params, embedding_create_params, image_generate_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from proxy.surfaces.generate import GENERATE
from proxy.wire import chat, completions, embeddings, images, responses
from proxy.wire.call import BadRequest, Call
from proxy.wire.chatfields import ChatRequest

SDK = {
    "chat": chat_create_params.CompletionCreateParamsNonStreaming,
    "completions": completion_create_params.CompletionCreateParamsNonStreaming,
    "embeddings": embedding_create_params.EmbeddingCreateParams,
    "images": image_generate_params.ImageGenerateParamsNonStreaming,
    "responses": response_create_params.ResponseCreateParamsNonStreaming,
}
MESSAGES = [{"role": "user", "content": "hello"}]
ASKED: dict[str, tuple[Callable[[bytes], Call], dict[str, Any]]] = {
    "chat": (chat.parse, {"messages": MESSAGES}),
    "completions": (completions.parse, {"prompt": "hello"}),
    "embeddings": (embeddings.parse, {"input": "hello"}),
    "images": (images.parse, {"prompt": "a cat"}),
    "responses": (responses.parse, {"input": "hello"}),
    "generate": (GENERATE.parse, {"messages": MESSAGES}),
}


def typed(*shapes: type[Struct]) -> set[str]:
    return {name for shape in shapes for name in shape.__struct_fields__}


def parse(surface: str, **fields: Any) -> Call:
    read, usual = ASKED[surface]
    return read(json.dumps({"model": "m"} | usual | fields).encode())


class TestEveryParameterOfTheSdk:
    @pytest.mark.parametrize(
        ("surface", "known"),
        [
            ("chat", typed(ChatRequest) | {*chat.UNPRICED, chat.UNANSWERED}),
            ("completions", typed(ChatRequest, completions.CompletionsRequest)),
            ("embeddings", typed(embeddings.EmbeddingsRequest)),
            ("images", typed(images.ImagesRequest) | {*images.UNPRICED}),
            (
                "responses",
                typed(responses.ResponsesRequest)
                | {*responses.REFUSED}
                | ({*responses.SAME} & typed(ChatRequest)),
            ),
        ],
    )
    def test_is_known_here(self, surface: str, known: set[str]) -> None:
        documented = set(get_type_hints(SDK[surface]))

        assert len(documented) >= 5
        assert documented - known == set()

    @pytest.mark.parametrize("surface", SDK)
    def test_is_refused_where_its_type_is_wrong(self, surface: str) -> None:
        """A whole number is right for no object, list, text or choice; a text for no number."""
        for name in get_type_hints(SDK[surface]):
            refused = 0
            for wrong in (-(2**70), "no such choice", [7]):
                try:
                    parse(surface, **{name: wrong})
                except BadRequest:
                    refused += 1
            assert refused >= 2 or name in ("stop", "input"), name


class TestWhatAResponseCannotDo:
    @pytest.mark.parametrize("name", [*responses.REFUSED, *sorted(responses.CHATS)])
    def test_is_refused_by_name(self, name: str) -> None:
        with pytest.raises(BadRequest) as refused:
            parse("responses", **{name: {"x": 1}})

        assert (refused.value.reason, refused.value.param) == ("unsupported_parameter", name)

    def test_is_named_where_it_changes_nothing(self) -> None:
        call = parse(
            "responses",
            store=True,
            include=["reasoning.encrypted_content"],
            max_tool_calls=3,
            image={"context_compression": "auto"},
            stream_options={"include_obfuscation": False},
            reasoning={"summary": "auto", "context": "all_turns"},
        )

        assert call.unheard == {
            *("store", "include", "max_tool_calls", "image", "stream_options"),
            *("reasoning.summary", "reasoning.context"),
        }

    def test_is_not_named_where_it_is_heard(self) -> None:
        call = parse("responses", store=False, include=[], reasoning={"effort": "low"})

        assert not call.unheard

    def test_a_dearer_way_to_think_is_refused(self) -> None:
        with pytest.raises(BadRequest) as refused:
            parse("responses", reasoning={"mode": "pro"})

        assert refused.value.reason == "unpriced_parameter"

    def test_what_nobody_knows_travels_on(self) -> None:
        call = parse("responses", top_k=4, prompt_cache_options={"mode": "explicit"})

        assert call.fields["top_k"] == 4
        assert call.fields["prompt_cache_options"] == {"mode": "explicit"}


class TestPicturesOfAnotherPrice:
    @pytest.mark.parametrize(
        "fields",
        [
            {"svg": {"model": "x"}},
            {"frame_count": 3},
            {"output_format": "gif"},
            {"complexity": "low"},
        ],
    )
    def test_are_refused(self, fields: dict[str, Any]) -> None:
        with pytest.raises(BadRequest) as refused:
            parse("images", **fields)

        assert refused.value.reason == "unpriced_parameter"
        assert refused.value.param in fields
