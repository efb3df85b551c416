"""Mail of the demo: files in DATA_DIR/mail, whose links are shown at the terminal."""

from __future__ import annotations

import re
from email import policy
from email.parser import BytesParser
from pathlib import Path

LINK = re.compile(r"https?://[^\s<>\"']+")
# How Django's file backend separates the messages of one file.
SEPARATOR = b"\n" + b"-" * 79 + b"\n"


class Mailbox:
    """Sees messages that were not there before."""

    def __init__(self, *, folder: Path) -> None:
        self._folder = folder
        self._seen = {path: path.stat().st_size for path in self._files()}

    def new_lines(self) -> list[str]:
        """Return a line for every new message: to whom, about what, its link."""
        lines: list[str] = []
        for path in self._files():
            size = path.stat().st_size
            seen = self._seen.get(path, 0)
            if size > seen:
                lines += [line_of(message=text) for text in _messages(path=path, offset=seen)]
                self._seen[path] = size
        return lines

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.log"))


def line_of(*, message: bytes) -> str:
    """Say what a message is about, with its first link as it stands."""
    parsed = BytesParser(policy=policy.default).parsebytes(message)
    body = parsed.get_body(("plain", "html"))
    links = LINK.findall(body.get_content()) if body else []
    return f"mail to {parsed['To']}: {parsed['Subject']}: {links[0] if links else '(no link)'}"


def _messages(*, path: Path, offset: int) -> list[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        return [text for text in file.read().split(SEPARATOR) if text.strip()]
