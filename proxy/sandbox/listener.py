"""Whoever waits for an answer: the connection is watched all the time, and may go away."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Send


class Hangup(Exception):
    """The connection is gone, or shall be cut here."""


class Listener:
    """The caller's side of one answer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._gone = asyncio.Event()
        self._watcher = asyncio.create_task(self._watch())

    @property
    def gone(self) -> bool:
        """Whether nobody listens any more."""
        return self._gone.is_set()

    async def pause(self, seconds: float) -> None:
        """
        Wait, but no longer than the caller does.

        :raises Hangup: the caller is gone
        """
        # Even without a delay the event loop must get the chance to see a disconnect.
        await asyncio.sleep(0)
        if seconds and not self._gone.is_set():
            try:
                await asyncio.wait_for(self._gone.wait(), seconds)
            except TimeoutError:
                return
        if self._gone.is_set():
            raise Hangup

    async def begin(self, content_type: str, *, status: int = 200) -> None:
        """Send the head of an answer."""
        headers = [(b"content-type", content_type.encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, last: bool = False) -> None:
        """Send a piece of the body."""
        await self._send({"type": "http.response.body", "body": body, "more_body": not last})

    async def answer(self, body: bytes, *, status: int = 200) -> None:
        """Send a whole answer of JSON."""
        await self.begin("application/json", status=status)
        await self.write(body, last=True)

    def stop(self) -> None:
        """Stop watching."""
        self._watcher.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
