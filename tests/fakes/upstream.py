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
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from tests.fakes.replies import (
    MODEL,
    STREAM_HEAD,
    answer,
    body_of,
    chunk,
    completion,
    cut_at,
    default_reply,
    endless,
    error,
    event,
    events,
    garbage,
    hang_up,
    huge_line,
    in_pieces,
    silence,
    stream,
    then,
    unreachable_url,
    usage,
)
from tests.fakes.steps import (
    Call,
    Cut,
    Gate,
    Head,
    Pause,
    Raw,
    Repeat,
    Reply,
    Script,
    Stall,
    Step,
)

__all__ = [
    "MODEL",
    "STREAM_HEAD",
    "Call",
    "Cut",
    "FakeUpstream",
    "Gate",
    "Head",
    "Pause",
    "Raw",
    "Repeat",
    "Reply",
    "Script",
    "Stall",
    "Step",
    "answer",
    "body_of",
    "chunk",
    "completion",
    "cut_at",
    "default_reply",
    "endless",
    "error",
    "event",
    "events",
    "garbage",
    "hang_up",
    "huge_line",
    "in_pieces",
    "silence",
    "stream",
    "then",
    "unreachable_url",
    "usage",
]

MOST_WAIT_S = 30.0
# At what a caller has not read yet; one that reads nothing at all may be meant not to.
MOST_LOOKS = 500
CONNECTIONS = Path("/proc/net/tcp")


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

    def wait_for_stall(self) -> Call:
        """Return the newest call once all that is sent of its answer was written."""
        call = self.wait_for_calls(1)[-1]
        assert call.stalled.wait(MOST_WAIT_S), "the answer goes on"
        return call

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

    def reply_to(self, call: Call) -> Iterable[Step]:
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
                await self._until_read()
                call.stalled.set()
                await self._gone.wait()
                raise Gone
            case Gate():
                while not step.opened.is_set():
                    await self._pause(0.02)
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
            # A zero linger makes the close a reset, also for bytes still on their way: a caller
            # that learns of both at once may never look at what came before it.
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            await asyncio.sleep(0.02)
            await self._until_read()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()
        raise Gone

    async def _until_read(self) -> None:
        """Wait until the caller has taken from its kernel what was written."""
        if self._gone.is_set():
            return
        own, peer = (self._writer.get_extra_info(name) for name in ("sockname", "peername"))
        for _ in range(MOST_LOOKS):
            if not unread(own, peer):
                return
            await asyncio.sleep(0.01)


def unread(own: tuple[str, int], peer: tuple[str, int]) -> bool:
    """Whether the other end of a connection of this machine has bytes to read; Linux tells."""
    if not CONNECTIONS.exists():
        return False
    ends = f": {kernels_name(peer)} {kernels_name(own)} "
    _, _, told = CONNECTIONS.read_text().partition(ends)
    queued = told.split(maxsplit=2)[1] if told else "0:0"
    return int(queued.partition(":")[2], 16) > 0


def kernels_name(address: tuple[str, int]) -> str:
    """Return an address as the kernel writes it in its table of connections."""
    host, port = address
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
