"""
Server-Sent Events as bytes: split what an upstream sends, write what a client reads.

Rules: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import codecs

LONGEST_EVENT_BYTES = 8 * 1024 * 1024
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


class EventTooLong(Exception):
    """One event is longer than any honest one."""


class Decoder:
    """
    Collects bytes, gives the data of each finished event.

    Lines may end in LF, CRLF or CR; several data lines are joined by LF; comments, other
    fields and events without data are passed over.
    """

    def __init__(self, *, limit_bytes: int = LONGEST_EVENT_BYTES) -> None:
        # An event may be megabytes that come in small pieces: joined once, when it ends.
        self.rest: list[bytes] = []
        self.rest_size = 0
        self.lines: list[bytes] = []
        self.size = 0
        self.limit_bytes = limit_bytes
        self.after_cr = False
        self.begun = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """
        Take the next bytes; return the data of the events that they finish.

        :raises EventTooLong: an event grows past the limit
        """
        if self.after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        if not chunk:
            return []
        self.after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        events: list[bytes] = []
        if lines and self.rest:
            lines[0] = b"".join((*self.rest, lines[0]))
            self.rest, self.rest_size = [], 0
        if lines and not self.begun:
            self.begun = True
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
        for line in lines:
            self._take(line, events)
        if rest:
            self.rest.append(rest)
            self.rest_size += len(rest)
        if self.rest_size + self.size > self.limit_bytes:
            raise EventTooLong
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self.lines:
                events.append(b"\n".join(self.lines))
                self.lines, self.size = [], 0
        elif line.startswith(b"data:"):
            value = line[6:] if line.startswith(b"data: ") else line[5:]
            self.lines.append(value)
            self.size += len(value)
            if self.size > self.limit_bytes:
                raise EventTooLong


def event(payload: bytes, *, name: str = "") -> bytes:
    """Write one event; ``payload`` is one line of JSON."""
    head = f"event: {name}\n".encode() if name else b""
    return b"".join((head, b"data: ", payload, b"\n\n"))
