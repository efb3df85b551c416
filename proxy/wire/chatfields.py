"""
The fields of a chat completion's body, typed and ranged as OpenAI documents them.

References: https://platform.openai.com/docs/api-reference/chat/create and the parameters of the
official SDK (``openai.types.chat.completion_create_params``), which a test compares with these.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from proxy.wire.preferences import ProviderFields

Unit = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Name = Annotated[str, Meta(min_length=1)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Slug = Annotated[str, Meta(min_length=1, max_length=128)]
Models = Annotated[list[str], Meta(max_length=10)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]
SafetyIdentifier = Annotated[str, Meta(max_length=128)]


class Message(Struct):
    """One message; what its role does not have travels unread."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: dict[str, Any] | None = None
    refusal: str | None = None


class StreamOptions(Struct):
    """What to add to a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Function(Struct):
    """A function that the model may call."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Custom(Struct):
    """A tool of free text."""

    name: Name
    description: str | None = None
    format: dict[str, Any] | None = None


class Tool(Struct):
    """A function or a custom tool; what runs at a provider has no bounded cost."""

    type: str
    function: Function | None = None
    custom: Custom | None = None


class Schema(Struct):
    """A JSON Schema and its name."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Struct):
    """What form the answer has."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


class CacheOptions(Struct):
    """How a provider keeps a prompt's beginning."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: str | None = None


class Place(Struct):
    """Where a search is made for."""

    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None


class UserLocation(Struct):
    """Roughly where the user is."""

    type: Literal["approximate"]
    approximate: Place


class WebSearch(Struct):
    """How to search the web."""

    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: UserLocation | None = None


class ChatRequest(Struct):
    """Every field that is documented; all others travel unread."""

    model: Slug
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    stop: str | list[str] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Bias] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[Function], Meta(max_length=128)] | None = None
    function_call: Literal["none", "auto"] | dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    modalities: list[str] | None = None
    service_tier: str | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: SafetyIdentifier | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: CacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    web_search_options: WebSearch | None = None
    models: Models | None = None
    provider: ProviderFields | None = None
