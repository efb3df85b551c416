"""The lines a person at the terminal sees."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

IMPORTANT_LEVELS = ("error", "critical")
IMPORTANT = re.compile(r"^\w*Error: |\b(ERROR|CRITICAL|FATAL|PANIC)\b")
LINES_AT_ONCE = 5
READ_AT_ONCE_BYTES = 1_000_000


def say(text: str) -> None:
    """Print a line; a terminal that went away is no reason to stop."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        # Else the interpreter complains once more when it ends.
        sys.stdout = open("/dev/null", "w")


class Tail:
    """Follows a log and picks out what a person should see."""

    def __init__(self, *, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def important(self) -> list[str]:
        """Return what is new and important, shortened; a flood is cut off."""
        found = [short for line in self._new_lines() if (short := importance(line=line))]
        if len(found) > LINES_AT_ONCE:
            more = len(found) - LINES_AT_ONCE
            found[LINES_AT_ONCE:] = [f"… and {more} more lines like these in {self._path}"]
        return found

    def _new_lines(self) -> list[str]:
        try:
            with self._path.open("rb") as log:
                if log.seek(0, 2) < self._offset:
                    self._offset = 0
                log.seek(self._offset)
                new = log.read(READ_AT_ONCE_BYTES)
        except OSError:
            return []
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def importance(*, line: str) -> str:
    """Return the part of a log line worth showing, or "" if none is."""
    if line.startswith("{"):
        try:
            event = json.loads(line)
        except ValueError:
            return ""
        shown = event.get("level") in IMPORTANT_LEVELS
        # One line each: the rest, tracebacks above all, is in the log.
        return str(event.get("event", "")).partition("\n")[0][:300] if shown else ""
    return line[:300] if IMPORTANT.search(line) else ""


def last_lines(*, path: Path, count: int) -> list[str]:
    """Return the end of a log."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]
