"""Three kinds of provider whose every object, header, id, name and error carries a canary."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from tests.fakes import anthropic, gemini
from tests.fakes import upstream as fake

CANARY = "upstreams-canary"
RETRY_AFTER_S = "98765431"
HEADERS = {
    **{
        name: f"{CANARY}-{name}"
        for name in (
            *("set-cookie", "server", "x-request-id", "openai-organization", "request-id", "via"),
            *("openai-processing-ms", "x-ratelimit-limit-requests", "x-ratelimit-reset-tokens"),
            *("cf-ray", "location", "www-authenticate", "x-custom", "etag", "alt-svc"),
            *("anthropic-organization-id", "x-goog-request-id", "content-disposition"),
        )
    },
    "retry-after": RETRY_AFTER_S,
}
NAMES: dict[str, Any] = {"id": f"{CANARY}-id", "model": f"{CANARY}-model"}
TOOL_CALL_ID = "call_1"
PICTURE = {"b64_json": "aGVsbG8=", "revised_prompt": "a cat"}
SIZES = (20, 150, 300, 450, 700, 1000, 1400)
STATUSES = (
    *(204, 301, 307, 400, 401, 402, 403, 404, 408, 409, 413, 415, 422, 425, 429),
    *(500, 501, 502, 503, 504, 529),
)
# What a model writes itself is content at any depth, and nothing is hidden in it.
WRITTEN = ("args", "input")

MESSAGE: dict[str, Any] = {
    "role": "assistant",
    "refusal": None,
    "tool_calls": [
        {
            "id": TOOL_CALL_ID,
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
        }
    ],
    "annotations": [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 0, "end_index": 5, "title": "t", "url": "http://t"},
        }
    ],
    "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}],
    "reasoning_details": [{"type": "reasoning.text", "text": "hmm", "format": "unknown"}],
    "audio": {"id": CANARY},
}
TOKEN: dict[str, Any] = {"token": "hello", "logprob": -0.1, "bytes": None}
LOGPROBS = {"content": [{**TOKEN, "top_logprobs": [TOKEN]}], "refusal": None}
USAGE = fake.usage(
    10,
    3,
    prompt_tokens_details={"cached_tokens": 2},
    completion_tokens_details={"reasoning_tokens": 1},
    cost_details={"upstream_inference_cost": CANARY},
)
VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}

Answer = Callable[[fake.Call], fake.Reply]


def salted(told: Any) -> Any:
    """Return a JSON value with a field more, name and value a canary, in every object of it."""
    if isinstance(told, list):
        return [salted(one) for one in told]
    if not isinstance(told, dict):
        return told
    inner = {name: told[name] if name in WRITTEN else salted(told[name]) for name in told}
    return {**inner, f"{CANARY}-name": {"value": [CANARY]}, "provider": CANARY}


def resalted(events: Iterable[Any]) -> list[bytes]:
    """Return Anthropic's events with canaries in their objects."""
    data = [json.loads(event.partition(b"data: ")[2]) for event in events]
    return [
        anthropic.event(one["type"], **{name: one[name] for name in one if name != "type"})
        for one in map(salted, data)
    ]


def told(reply: fake.Reply) -> fake.Reply:
    """Return a reply with canaries in its headers."""
    head, *rest = reply
    assert isinstance(head, fake.Head)
    return [fake.Head(head.status, (*head.headers, *HEADERS.items())), *rest]


def streams(call: fake.Call) -> bool:
    """Tell whether a stream was asked for, by any kind of provider."""
    return call.stream or gemini.streams(call)


class OpenAI:
    """An OpenAI-compatible provider; its pictures and vectors too."""

    kind = "openai"
    key_header = "authorization"
    base = "/v1"

    def good(self, call: fake.Call) -> fake.Reply:
        """Answer as the endpoint does."""
        path = call.path.partition("?")[0]
        if path.endswith("/embeddings"):
            return fake.answer(salted({**VECTORS, **NAMES}))
        if path.endswith("/images/generations"):
            return self._pictures(call)
        if not call.stream:
            choice = {
                "index": 0,
                "message": MESSAGE | {"content": "hello"},
                "logprobs": LOGPROBS,
                "finish_reason": "tool_calls",
            }
            whole = {**NAMES, "choices": [choice], "usage": USAGE, "object": "chat.completion"}
            return fake.answer(salted(whole))
        return [fake.STREAM_HEAD, *self.begun(), *self._end()]

    def begun(self) -> list[bytes]:
        """Return the events of a stream up to its first content."""
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"content": "hello"}]
        return [fake.event(salted(fake.chunk(delta, **NAMES))) for delta in deltas]

    def error(self, code: str | None = None) -> dict[str, Any]:
        """Return an error."""
        words = {"message": f"{CANARY} {code}", "type": CANARY, "param": CANARY}
        told = {"error": {**words, "code": code or CANARY}, "request_id": CANARY}
        return dict(salted(told))

    def error_event(self) -> bytes:
        """Return an error as an event of a stream."""
        return fake.event(self.error())

    def _end(self) -> list[bytes]:
        call = {**MESSAGE["tool_calls"][0], "index": 0}
        last = {name: value for name, value in MESSAGE.items() if name != "role"}
        choice = {"index": 0, "delta": last | {"tool_calls": [call]}, "logprobs": LOGPROBS}
        chunks = [
            {**NAMES, "choices": [{**choice, "finish_reason": None}]},
            fake.chunk({}, finish_reason="tool_calls", **NAMES),
            fake.chunk(choices=[], usage=USAGE, **NAMES),
        ]
        return [*(fake.event(salted(chunk)) for chunk in chunks), fake.event("[DONE]")]

    def _pictures(self, call: fake.Call) -> fake.Reply:
        details = {"text_tokens": 2, "image_tokens": 0}
        counts = {"total_tokens": 9, "input_tokens": 2, "output_tokens": 7}
        usage = {**counts, "input_tokens_details": details}
        if not call.stream:
            return fake.answer(salted({"created": 1, "data": [PICTURE], "usage": usage, **NAMES}))
        made = {"type": "image_generation.completed", **PICTURE, "created_at": 1, "usage": usage}
        partial = {**made, "type": "image_generation.partial_image", "partial_image_index": 0}
        return [fake.STREAM_HEAD, fake.event(salted(partial)), fake.event(salted(made))]


class Anthropic:
    """Anthropic's own API."""

    kind = "anthropic"
    key_header = "x-api-key"
    base = "/v1"

    def good(self, call: fake.Call) -> fake.Reply:
        """Answer with thoughts, text and a tool's use."""
        blocks = [
            anthropic.thinking("hmm"),
            anthropic.text("hello"),
            anthropic.tool_use(TOOL_CALL_ID, "weather", city="Köln"),
        ]
        if not call.stream:
            message = anthropic.envelope(blocks, self._usage, "tool_use")
            return fake.answer(salted({**message, **NAMES}))
        use = anthropic.block_events(2, blocks[2])
        end = anthropic.end(self._usage, stop_reason="tool_use")
        return [fake.STREAM_HEAD, *self.begun(), *resalted(use), *resalted(end)]

    def begun(self) -> list[bytes]:
        """Return the events of a stream up to its first content."""
        start = {**anthropic.envelope([], self._usage, None), **NAMES}
        return resalted(
            [
                anthropic.event("message_start", message=start),
                *anthropic.block_events(0, anthropic.thinking("hmm")),
                *anthropic.block_events(1, anthropic.text("hello")),
            ]
        )

    def error(self, code: str | None = None) -> dict[str, Any]:
        """Return an error."""
        error = {"type": CANARY, "message": f"{CANARY} {code}", "details": CANARY}
        return dict(salted({"type": "error", "error": error, "request_id": CANARY}))

    def error_event(self) -> bytes:
        """Return an error as an event of a stream."""
        return anthropic.event("error", error=self.error()["error"])

    @property
    def _usage(self) -> dict[str, Any]:
        return {"input_tokens": 10, "output_tokens": 3, "service_tier": CANARY}


class Gemini:
    """Google's own API."""

    kind = "gemini"
    key_header = "x-goog-api-key"
    base = "/v1beta"

    def good(self, call: fake.Call) -> fake.Reply:
        """Answer with thoughts, text and a call of a function."""
        spoken = (gemini.text("hmm", thought=True), gemini.text("hello"))
        used = gemini.function_call("weather", id_=TOOL_CALL_ID, city="Köln")
        end: dict[str, Any] = {"finish_reason": "STOP", "usageMetadata": gemini.usage()}
        end |= self._names
        if not streams(call):
            return fake.answer(salted(gemini.chunk(*spoken, used, **end)))
        return [
            fake.STREAM_HEAD,
            *self.begun(),
            gemini.event(salted(gemini.chunk(used))),
            gemini.event(salted(gemini.chunk(**end))),
        ]

    def begun(self) -> list[bytes]:
        """Return the events of a stream up to its first content."""
        parts = (gemini.text("hmm", thought=True), gemini.text("hello"))
        return [gemini.event(salted(gemini.chunk(part, **self._names))) for part in parts]

    def error(self, code: str | None = None) -> dict[str, Any]:
        """Return an error."""
        return dict(salted(gemini.error(400, CANARY, f"{CANARY} {code}")))

    def error_event(self) -> bytes:
        """Return an error as an event of a stream."""
        return gemini.event(self.error())

    @property
    def _names(self) -> dict[str, Any]:
        return {"responseId": NAMES["id"], "modelVersion": NAMES["model"]}


Vendor = OpenAI | Anthropic | Gemini
VENDORS: tuple[Vendor, ...] = (OpenAI(), Anthropic(), Gemini())


def failures(vendor: Vendor) -> dict[str, Answer]:
    """Return all the ways of a provider to answer, the good one first."""

    def refusal(status: int, code: str | None = None) -> Answer:
        return lambda call: told(fake.answer(vendor.error(code), status=status))

    def stream(*steps: fake.Step) -> Answer:
        """Return steps for a stream; where none was asked for, an answer that is cut."""
        begun = [fake.STREAM_HEAD, *vendor.begun(), fake.Pause(0.01), *steps]
        return lambda call: told(begun if streams(call) else cut_good(call, 60))

    def cut_good(call: fake.Call, size: int) -> fake.Reply:
        return fake.cut_at(vendor.good(call), size, reset=False)

    def cut(size: int) -> Answer:
        return lambda call: told(cut_good(call, size))

    def inside(call: fake.Call) -> fake.Reply:
        if streams(call):
            return told([fake.STREAM_HEAD, vendor.error_event()])
        return told(fake.answer(vendor.error()))

    def garbage(body: bytes) -> Answer:
        return lambda call: told([fake.STREAM_HEAD, body] if streams(call) else fake.answer(body))

    junk = f"<html>{CANARY}</html>".encode()
    return {
        "none": lambda call: told(vendor.good(call)),
        **{str(status): refusal(status) for status in STATUSES},
        "context": refusal(400, "context_length_exceeded prompt is too long"),
        "filter": refusal(400, "content_filter"),
        "an error inside": inside,
        "an error after content": stream(vendor.error_event()),
        "junk after content": stream(b"data: " + junk + b"\n\n"),
        "an object after content": stream(fake.event(salted({"detail": CANARY}))),
        "silence after content": stream(fake.Stall()),
        "an end after content": stream(),
        "not JSON": garbage(junk),
        "an object": garbage(fake.event(salted({"detail": CANARY}))),
        "a list": lambda call: told(fake.answer(json.dumps([CANARY]).encode())),
        "a whole answer as a stream": lambda call: told(fake.answer(salted({"data": [NAMES]}))),
        "cut at once": lambda call: fake.hang_up(),
        **{f"cut after {size} bytes": cut(size) for size in SIZES},
        "silence": lambda call: fake.silence(),
    }
