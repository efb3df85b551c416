"""
The gateway with trapdoors: where the file CHAOS_POINT_FILE names a point, the process that
reaches it kills itself as a crash would, SIGKILL, and nothing more of it runs.

The product knows nothing of this. It is what uvicorn is given instead of ``config.asgi``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from config.asgi import application
from proxy import dispatch, till
from proxy.connection import Connection
from proxy.guard import Incoming
from proxy.runtime import Runtime
from proxy.streams import Stream
from proxy.till import Ask, Closing, Granted, Settled, Till

__all__ = ["POINTS", "application"]

POINTS = (
    "before_admit",
    "admit_committed",
    "before_dispatch",
    "after_first_byte",
    "before_settle",
    "settle_committed",
    "before_end",
)
FILE = os.environ["CHAOS_POINT_FILE"]

_admit, _attempt, _durable = Till.admit, dispatch.attempt, Runtime.durable
_ask_admission, _ask_settlement = till.ask_admission, till.ask_settlement
_note_first_byte, _answer, _write = Stream._note_first_byte, Incoming.answer, Incoming.write


def reach(point: str) -> None:
    """End this process if this is the point that was chosen."""
    try:
        with open(FILE) as file:
            chosen = file.read()
    except FileNotFoundError:
        return
    if chosen == point:
        os.unlink(FILE)
        os.kill(os.getpid(), signal.SIGKILL)


async def admit(self: Till, ask: Ask) -> Granted:
    reach("before_admit")
    return await _admit(self, ask)


async def ask_admission(connection: Connection, items: list[Ask], careful: bool) -> list[Granted]:
    verdicts = await _ask_admission(connection, items, careful)
    if any(verdict.v == "ok" for verdict in verdicts):
        reach("admit_committed")
    return verdicts


async def attempt(*args: Any) -> Any:
    reach("before_dispatch")
    return await _attempt(*args)


def note_first_byte(self: Stream) -> None:
    first = self.exchange.first_byte_ms is None
    _note_first_byte(self)
    if first:
        reach("after_first_byte")


async def durable(self: Runtime, closing: Closing) -> Settled | None:
    reach("before_settle")
    return await _durable(self, closing)


async def ask_settlement(
    connection: Connection, items: list[Closing], careful: bool
) -> list[Settled]:
    verdicts = await _ask_settlement(connection, items, careful)
    if any(verdict.v == "ok" and verdict.charged for verdict in verdicts):
        reach("settle_committed")
    return verdicts


async def answer(
    self: Incoming, *, status: int, body: bytes, headers: Mapping[str, str], **more: Any
) -> None:
    if status == 200:
        reach("before_end")
    await _answer(self, status=status, body=body, headers=headers, **more)


async def write(self: Incoming, chunk: bytes, *, last: bool = False) -> None:
    if last:
        reach("before_end")
    await _write(self, chunk, last=last)


for owner, name, function in (
    (Till, "admit", admit),
    (till, "ask_admission", ask_admission),
    (dispatch, "attempt", attempt),
    (Stream, "_note_first_byte", note_first_byte),
    (Runtime, "durable", durable),
    (till, "ask_settlement", ask_settlement),
    (Incoming, "answer", answer),
    (Incoming, "write", write),
):
    setattr(owner, name, function)
