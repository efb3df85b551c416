"""An answer that is made at once, or event by event, with the trouble that was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from starlette.types import Receive, Scope, Send

from proxy.sandbox import wire
from proxy.sandbox.calls import Call, CallLog
from proxy.sandbox.generation import STALL_S, refusal
from proxy.sandbox.listener import Hangup, Listener


class Results:
    """The ASGI response to a request for vectors or pictures."""

    def __init__(
        self,
        *,
        knobs: wire.Knobs | None,
        call: Call,
        log: CallLog,
        body: bytes = b"",
        events: Iterator[bytes] | None = None,
    ) -> None:
        self._knobs = knobs or wire.Knobs()
        self._call = call
        self._log = log
        self._body = body
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the answer; a cut leaves it incomplete, which makes the server hang up."""
        listener = Listener(receive, send)
        finished = False
        try:
            await listener.pause(self._knobs.delay_ms / 1000)
            if self._events is None:
                await self._whole(listener)
            else:
                await self._stream(listener, self._events)
            finished = True
        except Hangup:
            pass
        finally:
            listener.stop()
            self._log.end(self._call, finished=finished)

    async def _whole(self, listener: Listener) -> None:
        await self._fail(listener)
        await listener.answer(self._body)

    async def _stream(self, listener: Listener, events: Iterator[bytes]) -> None:
        await listener.begin("text/event-stream; charset=utf-8")
        for number, event in enumerate(events):
            if number == self._knobs.after_chunks:
                await self._fail(listener)
            await listener.pause(self._knobs.chunk_delay_ms / 1000 if number else 0)
            await listener.write(event)
        await listener.write(b"", last=True)

    async def _fail(self, listener: Listener) -> None:
        match self._knobs.fail:
            case "cut":
                if self._events is None:
                    await listener.begin("application/json")
                    await listener.write(b'{"data":')
                raise Hangup
            case "stall":
                await listener.pause(STALL_S)
                raise Hangup
            case "429" | "500" as status if self._events is not None:
                body = refusal(status).body()
                told = msgspec.json.encode({"type": "error", **body})
                await listener.write(b"event: error\ndata: " + told + b"\n\n", last=True)
                raise Hangup
