"""
What the sandbox did: one call per generation, in memory and in a log that survives it.

Each call is two lines of JSON, one at its start and one at its end. Reading the log back
makes the generation lookup survive a restart; a call that was running when the process died
gets its end line then.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from common import ids

MOST_REMEMBERED = 200_000
OWN_ID_PREFIX = "sandbox-"


@dataclass(slots=True)
class Call:
    """One generation; ``completion_tokens`` grows while it runs."""

    request_id: str
    model: str
    prompt_tokens: int
    completion_tokens: int = 0
    finished: bool = False
    ended: bool = False
    at: str = ""

    @property
    def id(self) -> str:
        """The sandbox's own id of the generation, the ``id`` of its answers."""
        return OWN_ID_PREFIX + self.request_id


class Line(msgspec.Struct, frozen=True):
    """One line of the log."""

    at: str
    request_id: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    finished: bool


class CallLog:
    """The calls by request id, latest first to be forgotten last."""

    def __init__(self, path: Path | None) -> None:
        self._calls: OrderedDict[str, Call] = OrderedDict()
        self._file: BinaryIO | None = None
        if path is not None:
            self._replay(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            self._finish_last_line(path)
            self._end_orphans()

    def start(self, *, request_id: str, model: str, prompt_tokens: int) -> Call:
        """Remember and log a call that begins."""
        call = Call(request_id, model, prompt_tokens, at=_now())
        self._remember(call)
        self._write(call)
        return call

    def end(self, call: Call, *, finished: bool) -> None:
        """Log the end of a call, once."""
        if not call.ended:
            call.ended, call.finished = True, finished
            self._write(call)

    def find(self, id: str) -> Call | None:
        """Return the latest call under a request id in any form, or under our own id."""
        return self._calls.get(_key(id.removeprefix(OWN_ID_PREFIX)))

    def of_day(self, day: date) -> list[Call]:
        """Return the calls that began on a day, in the order of their latest start."""
        prefix = day.isoformat()
        return [call for call in self._calls.values() if call.at.startswith(prefix)]

    def close(self) -> None:
        """Close the log file."""
        if self._file is not None:
            self._file.close()

    def _remember(self, call: Call) -> None:
        key = _key(call.request_id)
        self._calls[key] = call
        self._calls.move_to_end(key)
        if len(self._calls) > MOST_REMEMBERED:
            self._calls.popitem(last=False)

    def _write(self, call: Call) -> None:
        line = Line(
            at=_now(),
            request_id=call.request_id,
            model=call.model,
            prompt_tokens=call.prompt_tokens,
            completion_tokens=call.completion_tokens,
            finished=call.finished,
        )
        self._append(msgspec.json.encode(line) + b"\n")

    def _replay(self, path: Path) -> None:
        if not path.exists():
            return
        running: dict[str, Call] = {}
        decoder = msgspec.json.Decoder(Line)
        with path.open("rb") as lines:
            for text in lines:
                try:
                    line = decoder.decode(text)
                except msgspec.MsgspecError:
                    # A process killed while it wrote leaves half a line behind.
                    continue
                self._read(line, running)

    def _read(self, line: Line, running: dict[str, Call]) -> None:
        key = _key(line.request_id)
        call = running.pop(key, None)
        if call is None:
            call = Call(line.request_id, line.model, line.prompt_tokens, at=line.at)
            running[key] = call
            self._remember(call)
            return
        call.completion_tokens = line.completion_tokens
        call.finished, call.ended = line.finished, True

    def _finish_last_line(self, path: Path) -> None:
        with path.open("rb") as log:
            if log.seek(0, os.SEEK_END) and log.seek(-1, os.SEEK_END) and log.read(1) != b"\n":
                self._append(b"\n")

    def _append(self, text: bytes) -> None:
        if self._file is not None:
            self._file.write(text)

    def _end_orphans(self) -> None:
        for call in list(self._calls.values()):
            self.end(call, finished=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _key(request_id: str) -> str:
    value = ids.parse_request(request_id)
    return value.hex if value else request_id
