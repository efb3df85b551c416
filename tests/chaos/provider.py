"""
Two providers in one scripted upstream, with a log of their own: the truth to compare with.

A call says in its text how it wants to be answered. Each token is four bytes, so that our
own count of a stream is its number of tokens. ``looked`` can be asked about past calls and
stops on cancellation; ``plain`` can do neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.fakes import replies
from tests.fakes.steps import Call, Pause, Step
from tests.fakes.upstream import FakeUpstream

TOKEN = "tok "
PROMPT_NANOS, COMPLETION_NANOS = 1000, 2000
OUR_NANOS = 100


@dataclass(slots=True)
class Record:
    """One call as its provider saw it; ``completion`` grows while it runs."""

    id: str
    provider: str
    prompt: int
    call: Call
    completion: int = 0
    failed: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will be made for it."""
        return self.call.ended.is_set()

    @property
    def finished(self) -> bool:
        """Whether it was answered to its end."""
        return self.call.finished and not self.failed

    @property
    def nanos(self) -> int:
        """What exactly it costs at retail."""
        return self.prompt * PROMPT_NANOS + self.completion * COMPLETION_NANOS

    @property
    def our_nanos(self) -> int:
        """What exactly it costs us."""
        return (self.prompt + self.completion) * OUR_NANOS


class Providers(FakeUpstream):
    """The upstream of one run."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []
        self.latest: dict[tuple[str, str], Record] = {}

    def reply_to(self, call: Call) -> Iterator[Step]:
        """Answer a call step by step, and log it as it goes."""
        provider = call.path.split("/")[1]
        if "/generation?" in call.path:
            return iter(self._lookup(provider, call.path.rpartition("=")[2]))
        text = call.body["messages"][-1]["content"]
        record = Record(
            id=call.headers["x-request-id"],
            provider=provider,
            prompt=-(-len(text) // len(TOKEN)),
            call=call,
        )
        self.records.append(record)
        self.latest[provider, record.id] = record
        return self._answer(record, json.loads(text), stream=call.stream)

    def _answer(self, record: Record, wish: dict[str, object], *, stream: bool) -> Iterator[Step]:
        pause_s = float(str(wish["pause_ms"])) / 1000
        tokens = int(str(wish["tokens"]))
        if wish.get("fail") == record.provider:
            record.failed = True
            yield from replies.error(500)
            return
        yield Pause(pause_s)
        yield from self._stream(record, tokens, pause_s) if stream else self._whole(record, tokens)

    def _whole(self, record: Record, tokens: int) -> Iterator[Step]:
        record.completion = tokens
        yield from replies.completion(
            TOKEN * tokens, prompt_tokens=record.prompt, completion_tokens=tokens
        )

    def _stream(self, record: Record, tokens: int, pause_s: float) -> Iterator[Step]:
        yield replies.STREAM_HEAD
        for _ in range(tokens):
            record.completion += 1
            yield replies.event(replies.chunk({"content": TOKEN}))
            yield Pause(pause_s)
        yield replies.event(replies.chunk({}, finish_reason="stop"))
        used = replies.usage(record.prompt, record.completion)
        yield replies.event(replies.chunk(choices=[], usage=used))
        yield replies.event("[DONE]")

    def _lookup(self, provider: str, id: str) -> list[Step]:
        record = self.latest.get((provider, id))
        if record is None or record.failed:
            return list(replies.error(404))
        fields = {
            "id": f"up-{id}",
            "tokens_prompt": record.prompt,
            "tokens_completion": record.completion,
            "finished": record.finished,
            "cancelled": record.ended and not record.finished,
        }
        return list(replies.answer({"data": fields}))
