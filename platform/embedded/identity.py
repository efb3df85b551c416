"""
Which process is meant by a process id.

Ids are used again; an id together with the moment the process started is not. This is how
a later run knows that a process listed in run.json is still the one an earlier run started.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, once and for all."""

    pid: int
    started: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return started(pid=self.pid) == self.started


def identify(*, pid: int) -> Identity | None:
    """Say which process has this id now, if any."""
    moment = started(pid=pid)
    return Identity(pid, moment) if moment else None


def started(*, pid: int) -> str:
    """Return when the process started, in words to compare, or "" if it does not run."""
    if not (PROC / "self" / "stat").exists():
        return _started_by_ps(pid=pid)
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    # The second field is the program's name in brackets and may hold anything.
    fields = stat[stat.rindex(")") + 2 :].split()
    return "" if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"


def _boot() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "boot"


def _started_by_ps(*, pid: int) -> str:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return "" if not answer or answer[0].startswith("Z") else " ".join(answer[1:])
