"""A way to a server that can be cut or stopped, while the server itself goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType

PIECE = 65536
IN_TIME_S = 30


class Relay:
    """``with Relay(host, port) as relay: relay.port; relay.cut(); relay.stall(); relay.mend()``."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = 0
        self._flowing = asyncio.Event()
        self._cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        self._have(self._do_cut)

    def stall(self) -> None:
        """Keep connections, accept new ones, pass nothing on: a server that was stopped."""
        self._have(self._flowing.clear)

    def mend(self) -> None:
        """Be as if nothing had happened."""
        self._have(self._do_mend)

    def _have(self, happen: Callable[[], None]) -> None:
        # It has happened when this returns.
        done = threading.Event()
        self._loop.call_soon_threadsafe(happen)
        self._loop.call_soon_threadsafe(done.set)
        assert done.wait(IN_TIME_S), "the relay does not answer"

    def _do_cut(self) -> None:
        self._cut = True
        for writer in list(self._writers):
            writer.transport.abort()

    def _do_mend(self) -> None:
        self._cut = False
        self._flowing.set()

    def __enter__(self) -> Relay:
        self._thread.start()
        assert self._started.wait(IN_TIME_S), "the relay did not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(IN_TIME_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._flowing.set()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._join(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            return writer.transport.abort()
        # Known from the start: it may be cut while the rest is on its way.
        self._writers.add(writer)
        onward_reader, onward = await asyncio.open_connection(*self.target)
        self._writers.add(onward)
        if writer.transport.is_closing():
            onward.transport.abort()
        try:
            await asyncio.gather(self._pass(reader, onward), self._pass(onward_reader, writer))
        finally:
            self._writers -= {writer, onward}
            writer.transport.abort()
            onward.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(PIECE):
                await self._flowing.wait()
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
        except (OSError, RuntimeError):
            writer.transport.abort()
