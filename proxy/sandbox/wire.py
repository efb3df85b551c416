"""
What the sandbox reads and writes: OpenAI's chat completions, as far as it needs them.

Fields it does not know are accepted and ignored, as most providers do.
"""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

ECHO = "sandbox/echo"
LOREM = "sandbox/lorem"
CHAT_MODELS = (ECHO, LOREM)
DEFAULT_LOREM_WORDS = 64
MOST_WORDS = 100_000
CREATED = 1_767_225_600

Milliseconds = Annotated[int, Meta(ge=0, le=3_600_000)]
Limit = Annotated[int, Meta(ge=1)]


class Refusal(Exception):
    """An answer that is an error, in OpenAI's shape."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """Return the JSON body of this error."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": kinds.get(self.status, kind),
                "param": self.param,
                "code": self.code,
            }
        }


class Knobs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a caller makes the sandbox slow or broken."""

    delay_ms: Milliseconds = 0
    chunk_delay_ms: Milliseconds = 0
    fail: Literal["429", "500", "cut", "stall"] | None = None
    after_chunks: Annotated[int, Meta(ge=0)] = 0


class Message(Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: str
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """Return the message's text, the text parts of a list joined by line breaks."""
        if isinstance(self.content, str):
            return self.content
        parts = [part.get("text") for part in self.content or () if part.get("type") == "text"]
        return "\n".join(part for part in parts if isinstance(part, str))


class StreamOptions(Struct, frozen=True, kw_only=True):
    """What else a stream shall carry."""

    include_usage: bool = False


class ChatRequest(Struct, frozen=True, kw_only=True):
    """The body of POST /v1/chat/completions."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    stop: str | list[str] | None = None
    sandbox: Knobs | None = None

    @property
    def limit(self) -> int | None:
        """The output limit, under whichever name it came."""
        limits = [n for n in (self.max_completion_tokens, self.max_tokens) if n is not None]
        return min(limits) if limits else None

    def last_user_text(self) -> str:
        """Return the text of the last user message; empty if there is none."""
        texts = [message.text() for message in self.messages if message.role == "user"]
        return texts[-1] if texts else ""


class Usage(Struct, frozen=True):
    """Token counts as OpenAI reports them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Delta(Struct, frozen=True, omit_defaults=True):
    """What a chunk adds."""

    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True):
    """One choice's part of a chunk."""

    index: int
    delta: Delta
    finish_reason: str | None


class Chunk(Struct, frozen=True):
    """One event of a stream."""

    id: str
    object: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET


def parse_chat(body: bytes) -> ChatRequest:
    """
    Read a chat request.

    :raises Refusal: 400 for JSON that is malformed or of the wrong types, 404 for the model
    """
    request = parsed(body, ChatRequest)
    check_model(request.model, CHAT_MODELS)
    return request


Shape = TypeVar("Shape", bound=Struct)


def parsed(body: bytes, shape: type[Shape]) -> Shape:
    """
    Read a request.

    :raises Refusal: 400 for JSON that is malformed or of the wrong types
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise Refusal(400, str(error), param=_param(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"We could not parse the JSON body: {error}") from None


def check_model(model: str, served: tuple[str, ...]) -> None:
    """
    Refuse a model that is not served at this path.

    :raises Refusal: 404
    """
    if model not in served:
        message = f"The model `{model}` does not exist."
        raise Refusal(404, message, param="model", code="model_not_found")


def _param(message: str) -> str | None:
    missing = re.search(r"missing required field `(\w+)`", message)
    if missing:
        return missing.group(1)
    place = re.search(r"at `\$\.?(.*)`", message)
    return place.group(1) or None if place else None


def usage(*, prompt_tokens: int, completion_tokens: int) -> Usage:
    """Return the counts with their total."""
    return Usage(prompt_tokens, completion_tokens, prompt_tokens + completion_tokens)


def completion(
    *, id: str, model: str, texts: list[str], finish_reason: str, usage: Usage
) -> dict[str, Any]:
    """Return the body of a whole answer."""
    return {
        "id": id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": finish_reason,
            }
            for index, text in enumerate(texts)
        ],
        "usage": msgspec.structs.asdict(usage),
    }


def event(payload: object) -> bytes:
    """Return one server-sent event."""
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"


DONE = b"data: [DONE]\n\n"
