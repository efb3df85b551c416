"""
Streams that never lie.

The upstream's reader is the server's own coroutine: a caller that hangs up does not end
it. Before the first content a failing route falls back; after it nothing is spliced, and
a stream that breaks off ends with an error event and is settled on evidence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
from django.conf import settings
from msgspec import structs

from common.errors import ApiError
from proxy import dispatch, endings, streamends, upstreams
from proxy.dispatch import since_ms
from proxy.exchange import Exchange
from proxy.hangup import Hangup, HungUp
from proxy.routing import Leg
from proxy.surfaces.chat import ChatRendering
from proxy.transcripts import Overheard
from proxy.transport import Body
from proxy.upstreams import openai
from proxy.upstreams import trouble as troubles
from proxy.upstreams.base import UpstreamTrouble
from proxy.wire import answers, sse
from proxy.wire.answers import Usage

if TYPE_CHECKING:
    from proxy.runtime import Note

# More text than this per token of output limit is a provider that ignores the limit.
RUNAWAY_BYTES_PER_TOKEN = 16
TRAILER_S = 0.25
LONGEST_EVENTS_BYTES = {"chat": sse.LONGEST_EVENT_BYTES, "image": 4 * sse.LONGEST_EVENT_BYTES}


class BrokeOff(Exception):
    """A stream ended after content had been sent; the cause goes on the attempt."""


class Stream:
    """One attempt at a stream: what was read, what may be sent."""

    def __init__(self, exchange: Exchange, leg: Leg, hangup: Hangup) -> None:
        self.exchange = exchange
        self.leg = leg
        self.hangup = hangup
        self.began = time.perf_counter()
        self.decoder = sse.Decoder(limit_bytes=LONGEST_EVENTS_BYTES[exchange.call.kind])
        self.reader = upstreams.of(leg.provider.kind).reader(exchange.call)
        self.rendering = exchange.surface.rendering(exchange)
        if exchange.said is not None:
            self.rendering = Overheard(self.rendering)
        self.kept = b""
        self.noted: Note | None = None
        # The usage that was told last, and how much had come by then: more may follow.
        self.told_usage: Usage | None = None
        self.told_bytes = 0
        self.extend_at = time.monotonic() + settings.HOLD_TTL_S / 3

    @property
    def complete(self) -> bool:
        """Tell whether the upstream said that the answer is whole."""
        return self.reader.done or self.reader.finished

    @property
    def told(self) -> bool:
        """Tell whether there was content or a finish: with neither there is no answer."""
        return bool(self.reader.size_bytes or self.reader.finished)

    async def run(self) -> None:
        """
        Read the upstream to its end, sending on what it says.

        :raises UpstreamTrouble: no content came; another route may be tried
        :raises BrokeOff: it ended in the middle
        :raises HungUp: the caller is gone and the upstream was cancelled
        """
        self.exchange.runtime.live.add(self)
        async with dispatch.passage(self.exchange, self.leg):
            await self._run()

    async def _run(self) -> None:
        answer = await self.hangup.reading(dispatch.send(self.exchange, self.leg))
        try:
            await self._read(answer.body)
        except (HungUp, BrokeOff, UpstreamTrouble):
            raise
        except dispatch.BROKEN as error:
            # After a finish_reason nothing of the answer is missing.
            if not (self.complete and self.told):
                self._end(troubles.unreachable(error))
            await self.flush()
        except (answers.Garbage, sse.EventTooLong):
            self._end(troubles.garbage())
        except Exception as error:
            self._end(dispatch.unforeseen(error, self.exchange))
        finally:
            await answer.body.aclose()

    async def _read(self, body: Body) -> None:
        chunks = aiter(body)
        while not self.reader.done:
            asked = time.monotonic()
            try:
                async with asyncio.timeout(self._patience_s()):
                    chunk = await self.hangup.reading(anext(chunks))
            except StopAsyncIteration:
                break
            except TimeoutError:
                self._end(troubles.unreachable(httpx.ReadTimeout("silent")))
            await self._take(chunk)
            await self._pace(body, asked)
        if not (self.complete and self.told):
            self._end(troubles.unreachable(httpx.ReadError("ended early")))
        await self.flush()
        if self.reader.done:
            await self._trailer(chunks)

    async def _pace(self, body: Body, asked: float) -> None:
        """
        Let what comes fast come together: each look at a socket costs more than its words.

        Only between the first content and the end, and only where parts come faster than twice
        in a pace: what comes slower is passed on as it comes. All streams go on at the same
        moments, so that one look serves them all.
        """
        pace_s, now = settings.STREAM_PACE_S, time.monotonic()
        if not self.told or self.complete or now - asked >= pace_s / 2:
            return
        body.rest()
        try:
            await self.hangup.reading(asyncio.sleep(pace_s - now % pace_s))
        finally:
            body.go_on()

    def _patience_s(self) -> float:
        begun = self.exchange.first_byte_ms is not None
        return float(settings.IDLE_TIMEOUT_S if begun else settings.FIRST_BYTE_TIMEOUT_S)

    async def _trailer(self, chunks: AsyncIterator[bytes]) -> None:
        """Read the end of the body, so that the connection can be used again."""
        try:
            async with asyncio.timeout(TRAILER_S):
                async for _ in chunks:
                    pass
        except (TimeoutError, *dispatch.BROKEN):
            return

    async def _take(self, chunk: bytes) -> None:
        for event in self.decoder.feed(chunk):
            if self._pass_on(event):
                continue
            for part in self.reader.read(event):
                if ended := answers.finish_reason(part):
                    self.exchange.finish_reason = ended
                self._render(part)
            if self.reader.usage is not self.told_usage:
                self.told_usage, self.told_bytes = self.reader.usage, self.reader.size_bytes
            if self.reader.error is not None:
                self._end(troubles.error_in_body(self.reader.error))
            if self.reader.done:
                break
        if self.told:
            self._note_first_byte()
            await self.flush()
        self._check_runaway()

    def _pass_on(self, event: bytes) -> bool:
        """Take the commonest event, which is nothing but words, from the one to the other."""
        reader, rendering = self.reader, self.rendering
        if not (isinstance(reader, openai.Reader) and type(rendering) is ChatRendering):
            return False
        words = reader.words(event)
        if words is not None:
            self.kept += rendering.words(words, self.leg)
        return words is not None

    def _render(self, part: dict[str, Any]) -> None:
        """
        Keep a chunk's events until they are sent.

        :raises UpstreamTrouble: it cannot be told, and nothing else was
        :raises BrokeOff: it cannot be told
        """
        try:
            self.kept += self.rendering.chunk(part, self.leg)
        except Exception as error:
            trouble = dispatch.unforeseen(error, self.exchange)
            if self.exchange.incoming.answered:
                self._end(trouble)
            raise trouble from error

    def _note_first_byte(self) -> None:
        if self.exchange.first_byte_ms is None:
            self.exchange.first_byte_ms = self.exchange.incoming.elapsed_ms()
            self.exchange.upstream_ms += since_ms(self.began)
            drains = self.leg.provider.on_disconnect == "drain"
            self.hangup.drain_s = settings.DRAIN_TIMEOUT_S if drains else None

    def _check_runaway(self) -> None:
        if self.exchange.call.kind == "image":
            return
        limit = self.leg.output_tokens * self.exchange.call.choices
        if self.reader.size_bytes > RUNAWAY_BYTES_PER_TOKEN * limit + 65536:
            self._end(troubles.garbage())

    def headers(self) -> dict[str, str]:
        """Return the head of the answer; this attempt is not in the journal yet."""
        attempts = len(self.exchange.attempts) + 1
        return self.exchange.answered_headers(self.leg, attempts=attempts)

    async def begin(self) -> None:
        """Send the head of the answer, if it was not sent yet."""
        if not self.exchange.incoming.answered:
            await self.exchange.incoming.begin_stream(headers=self.headers())

    async def flush(self) -> None:
        """Send on what was read, once there is something to tell."""
        if self.kept and self.told:
            incoming = self.exchange.incoming
            await self.begin()
            out, self.kept = self.kept, b""
            self.exchange.runtime.keepalive.touch(incoming)
            await incoming.write(out)

    def _end(self, trouble: UpstreamTrouble) -> None:
        """
        Turn trouble into the right end for how far the stream has come.

        :raises UpstreamTrouble: nothing was sent yet
        :raises BrokeOff: content was sent
        """
        if self.told:
            raise BrokeOff(trouble.outcome)
        raise trouble

    @property
    def outgrown(self) -> bool:
        """Tell whether content came after the usage that was told last."""
        return self.reader.size_bytes > self.told_bytes

    async def evidence(self) -> tuple[Usage, str]:
        """Return the best evidence of what was generated, and what it is."""
        told = self.reader.usage
        if told is not None and not self.outgrown:
            return told, "provider"
        found, source = await endings.evidence_of(
            self.exchange, self.leg, self.reader.size_bytes, self.reader.upstream_id
        )
        if told is None and source == "count":
            return self.counted(), source
        if told is None or source == "lookup":
            return found, source
        # Told before all of it had come: whichever is more.
        if found.output <= told.output:
            return told, "provider"
        return structs.replace(told, output=found.output), source

    def counted(self) -> Usage:
        """Return our own estimate of what has been streamed: no less than was told of it."""
        counted = endings.counted(self.exchange, self.leg, self.reader.size_bytes)
        if (told := self.reader.usage) is not None:
            return structs.replace(told, output=max(told.output, counted.output))
        if (known := self.reader.prompt) is not None:
            # What was read of the prompt is known, though not yet what the answer will be.
            return structs.replace(known, output=max(counted.output, known.reasoning))
        return counted

    def mark(self) -> str:
        """Return the mark of usage that contradicts itself, and alert; else nothing."""
        return endings.quarantined(self.exchange, self.leg, contradicted=self.reader.contradicted)


async def serve(exchange: Exchange, hangup: Hangup) -> None:
    """Answer with a stream."""
    leg: Leg | None = exchange.offer.legs[0]
    last = troubles.garbage()
    exchange.runtime.keepalive.add(exchange.incoming, exchange.headers)
    try:
        while leg is not None:
            stream = Stream(exchange, leg, hangup)
            try:
                await stream.run()
            except UpstreamTrouble as trouble:
                exchange.note_trouble(leg, trouble, latency_ms=since_ms(stream.began))
                last = trouble
                leg = exchange.leg_after(leg, trouble)
                continue
            except BrokeOff as cause:
                ending = streamends.broke_off(stream, str(cause))
            except HungUp:
                ending = streamends.cancelled(stream)
            except asyncio.CancelledError:
                streamends.shut_down(stream)
                raise
            else:
                ending = streamends.finish(stream)
            finally:
                exchange.runtime.live.discard(stream)
            return await streamends.concluded(stream, ending)
        await fail(exchange, last)
    finally:
        exchange.runtime.keepalive.discard(exchange.incoming)


async def fail(exchange: Exchange, last: UpstreamTrouble) -> None:
    """
    Give the money back and say so: as an error, or in the stream that silence began.

    :raises ApiError: nothing was sent yet
    """
    try:
        await endings.fail(exchange, last)
    except ApiError as error:
        if not exchange.incoming.answered:
            raise
        rendering = exchange.surface.rendering(exchange)
        await exchange.incoming.write(await rendering.broken(error.error()), last=True)
