"""Replies of a scripted upstream: well-behaved, broken, and everything between."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tests.fakes.ports import free_port
from tests.fakes.steps import Call, Cut, Head, Pause, Repeat, Reply, Stall, Step

MODEL = "fake-model"


def default_reply(call: Call) -> Reply:
    """Answer as a well-behaved provider."""
    path = call.path.partition("?")[0]
    if path.endswith("/generation"):
        return error(404, "No such generation.")
    if path.endswith("/models"):
        return answer({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
    return stream() if call.stream else completion()


def answer(
    body: dict[str, Any] | bytes, *, status: int = 200, headers: dict[str, str] | None = None
) -> Reply:
    """Return a whole answer with its content-length."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(data))}
    return [Head(status, tuple({**fields, **(headers or {})}.items())), data]


def error(
    status: int,
    message: str = "Scripted failure.",
    *,
    kind: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """Return an error in OpenAI's shape."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return answer(body, status=status, headers=headers)


def usage(prompt_tokens: int, completion_tokens: int, **more: Any) -> dict[str, Any]:
    """Return a usage object."""
    total = prompt_tokens + completion_tokens
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": total,
        **more,
    }


def completion(
    text: str = "hello from upstream",
    *,
    prompt_tokens: int = 10,
    completion_tokens: int = 3,
    with_usage: bool = True,
    finish_reason: str = "stop",
    message: dict[str, Any] | None = None,
    **more: Any,
) -> Reply:
    """Return a chat completion."""
    body: dict[str, Any] = {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "upstream-name-of-the-model",
        "choices": [
            {
                "index": 0,
                "message": message or {"role": "assistant", "content": text},
                "finish_reason": finish_reason,
            }
        ],
        **more,
    }
    if with_usage:
        body["usage"] = usage(prompt_tokens, completion_tokens)
    return answer(body)


def chunk(
    delta: dict[str, Any] | None = None, *, finish_reason: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return one stream chunk; ``choices`` may be overridden."""
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "upstream-name-of-the-model",
        "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason}],
        **more,
    }


def event(payload: dict[str, Any] | str, *, newline: str = "\n") -> bytes:
    """Return one server-sent event."""
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return f"data: {text}{newline}{newline}".encode()


STREAM_HEAD = Head(200, (("content-type", "text/event-stream"),))


def events(
    payloads: Iterable[dict[str, Any] | str],
    *,
    every_s: float = 0.0,
    first_after_s: float = 0.0,
    done: int = 1,
    newline: str = "\n",
) -> list[Step]:
    """Return a stream of these events; ``done`` says how many times [DONE] is sent."""
    steps: list[Step] = [Pause(first_after_s)] if first_after_s else []
    steps.append(STREAM_HEAD)
    for payload in [*payloads, *["[DONE]"] * done]:
        steps.append(event(payload, newline=newline))
        if every_s:
            steps.append(Pause(every_s))
    return steps


def stream(
    words: Sequence[str] = ("hello", " from", " upstream"),
    *,
    prompt_tokens: int = 10,
    completion_tokens: int | None = None,
    with_usage: bool = True,
    finish_reason: str | None = "stop",
    every_s: float = 0.0,
    first_after_s: float = 0.0,
    done: int = 1,
    newline: str = "\n",
) -> list[Step]:
    """Return a chat stream: a role chunk, one per word, the finish, the usage, [DONE]."""
    chunks = [chunk({"role": "assistant", "content": ""})]
    chunks += [chunk({"content": word}) for word in words]
    if finish_reason is not None:
        chunks.append(chunk({}, finish_reason=finish_reason))
    if with_usage:
        counted = len(words) if completion_tokens is None else completion_tokens
        chunks.append(chunk(choices=[], usage=usage(prompt_tokens, counted)))
    return events(chunks, every_s=every_s, first_after_s=first_after_s, done=done, newline=newline)


def endless(word: str = " again", *, every_s: float = 0.001) -> list[Step]:
    """Return a stream that never ends."""
    role = event(chunk({"role": "assistant", "content": ""}))
    return [STREAM_HEAD, role, Repeat(event(chunk({"content": word})), every_s)]


def huge_line(size: int) -> list[Step]:
    """Return a stream whose first event is one line of more than ``size`` bytes."""
    return events([chunk({"content": "x" * size}), chunk({}, finish_reason="stop")])


def garbage(data: bytes = b"\x00\xff<html>not what you asked for</html>") -> list[Step]:
    """Return a stream that is not one."""
    return [STREAM_HEAD, data]


def silence() -> list[Step]:
    """Return no answer at all until the caller gives up."""
    return [Stall()]


def hang_up(*, reset: bool = True) -> list[Step]:
    """Return a connection that ends before the answer's first byte."""
    return [Cut(reset)]


def cut_at(reply: Reply, size: int, *, reset: bool = True) -> list[Step]:
    """Return a reply that ends after ``size`` bytes of its body."""
    steps: list[Step] = []
    for step in reply:
        if isinstance(step, bytes):
            if len(step) >= size:
                return [*steps, step[:size], Cut(reset)]
            size -= len(step)
        steps.append(step)
    return [*steps, Cut(reset)]


def then(reply: Reply, *steps: Step) -> list[Step]:
    """Return a reply with more steps at its end, e.g. ``then(stream(done=0), Stall())``."""
    return [*reply, *steps]


def in_pieces(reply: Reply, size: int, *, every_s: float = 0.001) -> list[Step]:
    """Return a reply whose body is written ``size`` bytes at a time, across all borders."""
    steps: list[Step] = []
    rest = b""
    for step in reply:
        if isinstance(step, bytes):
            rest += step
            while len(rest) >= size:
                steps += [rest[:size], Pause(every_s)]
                rest = rest[size:]
        else:
            steps += [rest, step] if rest else [step]
            rest = b""
    return [*steps, rest] if rest else steps


def body_of(reply: Reply) -> bytes:
    """Return all bytes of a reply's body."""
    return b"".join(step for step in reply if isinstance(step, bytes))


def unreachable_url() -> str:
    """Return an origin at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}"
