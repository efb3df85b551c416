"""
One answer being made, word by word, for as long as somebody listens.

The caller's connection is watched all the time: when it goes away the generation stops at
that word, and the call's count says how many words had been written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import msgspec
from starlette.types import Receive, Scope, Send

from proxy.sandbox import wire
from proxy.sandbox.calls import Call, CallLog
from proxy.sandbox.listener import Hangup, Listener
from proxy.sandbox.wire import Chunk, ChunkChoice, Delta, Refusal
from proxy.sandbox.words import count, lorem, pieces

STALL_S = 3600.0


class Generation:
    """The ASGI response to a chat request."""

    def __init__(self, *, request: wire.ChatRequest, call: Call, log: CallLog) -> None:
        self._request = request
        self._knobs = request.sandbox or wire.Knobs()
        self._call = call
        self._log = log
        self._pieces, self._finish_reason = _plan(request)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the answer; a cut leaves it incomplete, which makes the server hang up."""
        listener = Listener(receive, send)
        finished = False
        try:
            await listener.pause(self._knobs.delay_ms / 1000)
            if self._request.stream:
                await self._stream(listener)
            else:
                await self._whole(listener)
            finished = True
        except Hangup:
            pass
        finally:
            listener.stop()
            self._log.end(self._call, finished=finished)

    async def _words(self, listener: Listener) -> AsyncIterator[tuple[int, str]]:
        """Make one word after the other, and the failure that was asked for."""
        made = 0
        for index, piece in self._all_pieces():
            await self._fail_after(made, listener)
            if made:
                await listener.pause(self._knobs.chunk_delay_ms / 1000)
            else:
                await listener.pause(0)
            made += 1
            self._call.completion_tokens = made
            yield index, piece
        await self._fail_after(made, listener, at_end=True)

    def _all_pieces(self) -> Iterator[tuple[int, str]]:
        for index in range(self._request.n or 1):
            for piece in self._pieces:
                yield index, piece

    async def _fail_after(self, made: int, listener: Listener, *, at_end: bool = False) -> None:
        due = made >= self._knobs.after_chunks if at_end else made == self._knobs.after_chunks
        match self._knobs.fail if due else None:
            case "cut":
                raise Hangup
            case "stall":
                await listener.pause(STALL_S)
                raise Hangup
            case "429" | "500" as status:
                raise refusal(status)

    async def _whole(self, listener: Listener) -> None:
        texts = [""] * (self._request.n or 1)
        try:
            async for index, piece in self._words(listener):
                texts[index] += piece
        except Hangup:
            if not listener.gone:
                await listener.begin("application/json")
                await listener.write(b'{"id":')
            raise
        except Refusal as error:
            await listener.answer(msgspec.json.encode(error.body()), status=error.status)
            raise Hangup from None
        await listener.pause(0)
        body = wire.completion(
            id=self._call.id,
            model=self._request.model,
            texts=texts,
            finish_reason=self._finish_reason,
            usage=self._usage(),
        )
        await listener.answer(msgspec.json.encode(body))

    async def _stream(self, listener: Listener) -> None:
        if self._knobs.fail == "stall" and not self._knobs.after_chunks:
            await listener.pause(STALL_S)
        await listener.begin("text/event-stream; charset=utf-8")
        try:
            async for event in self._events(listener):
                await listener.write(event)
        except Refusal as error:
            await listener.write(wire.event(error.body()), last=True)
            raise Hangup from None
        await listener.pause(0)
        await listener.write(wire.DONE, last=True)

    async def _events(self, listener: Listener) -> AsyncIterator[bytes]:
        choices = range(self._request.n or 1)
        for index in choices:
            yield self._chunk(index, Delta(role="assistant", content=""))
        async for index, piece in self._words(listener):
            yield self._chunk(index, Delta(content=piece))
        for index in choices:
            yield self._chunk(index, Delta(), self._finish_reason)
        if self._wants_usage:
            yield wire.event(self._bare(choices=[], usage=self._usage()))

    @property
    def _wants_usage(self) -> bool:
        options = self._request.stream_options
        return options is not None and options.include_usage

    def _chunk(self, index: int, delta: Delta, finish_reason: str | None = None) -> bytes:
        choice = ChunkChoice(index, delta, finish_reason)
        usage = None if self._wants_usage else msgspec.UNSET
        return wire.event(self._bare(choices=[choice], usage=usage))

    def _bare(
        self, *, choices: list[ChunkChoice], usage: wire.Usage | msgspec.UnsetType | None
    ) -> Chunk:
        return Chunk(
            id=self._call.id,
            object="chat.completion.chunk",
            created=wire.CREATED,
            model=self._request.model,
            choices=choices,
            usage=usage,
        )

    def _usage(self) -> wire.Usage:
        return wire.usage(
            prompt_tokens=self._call.prompt_tokens, completion_tokens=self._call.completion_tokens
        )


def prompt_tokens(request: wire.ChatRequest) -> int:
    """Count the words of all text of all messages."""
    return sum(count(message.text()) for message in request.messages)


def refusal(status: str) -> Refusal:
    """Return the error that a caller asked for with ``fail``."""
    if status == "429":
        return Refusal(429, "Rate limit reached, as you asked.", code="rate_limit_exceeded")
    return Refusal(500, "The server had an error, as you asked.", code="server_error")


def _plan(request: wire.ChatRequest) -> tuple[list[str], str]:
    limit = request.limit
    if request.model == wire.LOREM:
        words = lorem(min(limit or wire.DEFAULT_LOREM_WORDS, wire.MOST_WORDS))
        return words, "length" if limit else "stop"
    words = pieces(request.last_user_text())
    if limit is not None and limit < len(words):
        return words[:limit], "length"
    return words, "stop"
