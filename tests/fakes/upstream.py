"""
A scripted OpenAI-like upstream over a real socket: it does what it is told, byte by byte.

    with FakeUpstream() as upstream:
        upstream.script(error(429), completion("hello"), model="gpt-4o")
        ...call upstream.base_url...
        assert [call.model for call in upstream.calls] == ["gpt-4o", "gpt-4o"]

A script is one reply per call; the last one is repeated. A reply is a list of steps
(``Head``, bytes of the body, ``Raw``, ``Pause``, ``Stall``, ``Cut``), or a function from the
call to such a list. Without a script, chat completions are answered sensibly.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

MODEL = "fake-model"
MOST_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers; without content-length the body is sent chunked."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes on the wire as they are, without HTTP's framing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence for a while; over early if the caller hangs up."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Silence until the caller hangs up."""


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection here: with a reset, or (politely) with an ordinary close."""

    reset: bool = True


@dataclass(frozen=True, slots=True)
class Repeat:
    """A piece of body again and again until the caller hangs up."""

    data: bytes
    every_s: float = 0.0


Step = Head | Raw | Pause | Stall | Cut | Repeat | bytes
Reply = Sequence[Step]


@dataclass(slots=True)
class Call:
    """One request that arrived, and what became of it."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: Any = None
    at: float = field(default_factory=time.monotonic)
    sent: int = 0
    finished: bool = False
    hung_up: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def model(self) -> str | None:
        """The model that was asked for."""
        model = self.body.get("model") if isinstance(self.body, dict) else None
        return model if isinstance(model, str) else None

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return isinstance(self.body, dict) and self.body.get("stream") is True


Script = Reply | Callable[[Call], Reply]


class Gone(Exception):
    """The connection is over, by the caller or by the script."""


class FakeUpstream:
    """The upstream, in a thread with its own event loop."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.connections = 0
        self._scripts: dict[tuple[str | None, str | None], list[Script]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()
        self._port = 0
        self._stop: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """Its OpenAI base URL."""
        return f"{self.url}/v1"

    def script(self, *replies: Script, model: str | None = None, path: str | None = None) -> None:
        """Set the replies for calls to this model or path (its end); the last one repeats."""
        self._scripts[(model, path)] = list(replies)

    def reset(self) -> None:
        """Forget scripts and calls."""
        self._scripts.clear()
        self.calls.clear()

    def wait_for_calls(self, count: int, *, ended: bool = False) -> list[Call]:
        """Return the calls once ``count`` of them have arrived (and ended)."""
        deadline = time.monotonic() + MOST_WAIT_S
        while sum(call.ended.is_set() or not ended for call in list(self.calls)) < count:
            assert time.monotonic() < deadline, f"only {len(self.calls)} of {count} calls"
            time.sleep(0.005)
        return list(self.calls)

    def __enter__(self) -> FakeUpstream:
        self._thread.start()
        assert self._started.wait(MOST_WAIT_S), "the fake upstream did not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(MOST_WAIT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.ensure_future(Connection(self, reader, writer).serve())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=64 * 1024 * 1024)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reply_to(self, call: Call) -> Reply:
        """Take the next reply for this call."""
        for key in self._matching(call):
            replies = self._scripts[key]
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
            return reply(call) if callable(reply) else reply
        return default_reply(call)

    def _matching(self, call: Call) -> Iterable[tuple[str | None, str | None]]:
        path = call.path.partition("?")[0]
        for model, end in sorted(self._scripts, key=lambda key: key == (None, None)):
            if model not in (None, call.model):
                continue
            if end is None and not path.endswith("/generation"):
                yield model, end
            if end is not None and path.endswith(end):
                yield model, end


class Connection:
    """One caller's connection: requests one after the other."""

    def __init__(
        self, upstream: FakeUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._upstream = upstream
        self._reader = reader
        self._writer = writer
        self._pushed_back = b""
        self._gone = asyncio.Event()
        self._chunked = False

    async def serve(self) -> None:
        """Answer requests until either side hangs up."""
        try:
            while (call := await self._read_call()) is not None:
                self._upstream.calls.append(call)
                await self._answer(call)
        except (Gone, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._writer.close()

    async def _read_call(self) -> Call | None:
        pushed, self._pushed_back = self._pushed_back, b""
        try:
            head = pushed + await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = first.split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        raw = await self._read_body(headers)
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        return Call(method=method, path=path, headers=headers, raw=raw, body=body)

    async def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self._reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readuntil(b"\r\n")
        return body

    async def _answer(self, call: Call) -> None:
        watch = asyncio.ensure_future(self._watch())
        self._chunked = False
        try:
            for step in self._upstream.reply_to(call):
                await self._take(step, call)
            if self._chunked:
                await self._write(b"0\r\n\r\n")
            call.finished = True
        except OSError:
            self._gone.set()
            raise
        finally:
            watch.cancel()
            # The next request may only be read once nobody else is reading.
            await asyncio.wait([watch])
            call.hung_up = self._gone.is_set() and not call.finished
            call.ended.set()

    async def _watch(self) -> None:
        early = await self._reader.read(1)
        if early:
            self._pushed_back = early
        else:
            self._gone.set()

    async def _take(self, step: Step, call: Call) -> None:
        match step:
            case bytes():
                await self._body(step, call)
            case Head():
                await self._head(step)
            case Raw():
                await self._write(step.data)
            case Pause():
                await self._pause(step.seconds)
            case Stall():
                await self._gone.wait()
                raise Gone
            case Repeat():
                while True:
                    await self._body(step.data, call)
                    await self._pause(step.every_s)
            case Cut():
                await self._cut(step)

    async def _head(self, head: Head) -> None:
        names = {name.lower() for name, _ in head.headers}
        self._chunked = not names & {"content-length", "transfer-encoding"}
        lines = [f"HTTP/1.1 {head.status} Scripted"]
        lines += [f"{name}: {value}" for name, value in head.headers]
        if self._chunked:
            lines.append("transfer-encoding: chunked")
        await self._write("\r\n".join([*lines, "", ""]).encode())

    async def _body(self, data: bytes, call: Call) -> None:
        if data:
            await self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
            call.sent += len(data)

    async def _write(self, data: bytes) -> None:
        if self._gone.is_set():
            raise Gone
        self._writer.write(data)
        await self._writer.drain()
        # Let the loop see a hang-up, and let each piece be a packet of its own.
        await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._gone.wait(), seconds)
        except TimeoutError:
            return
        raise Gone

    async def _cut(self, cut: Cut) -> None:
        if cut.reset:
            connection: socket.socket = self._writer.get_extra_info("socket")
            # A zero linger makes the close a reset, also for bytes still on their way.
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            await asyncio.sleep(0.02)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()
        raise Gone


# -- Replies ----------------------------------------------------------------------------


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
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"
