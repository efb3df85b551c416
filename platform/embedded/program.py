"""A program that we start, watch and stop, in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

from embedded.identity import Identity, identify

LOG_LIMIT_BYTES = 20_000_000


@dataclass(frozen=True, slots=True)
class User:
    """An ordinary user of the machine, for programs that refuse to be root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Program:
    """What to start and how to stop it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    port: int | None = None
    user: User | None = None
    pass_fds: tuple[int, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    force_signal: signal.Signals = signal.SIGKILL
    stop_within_s: float = 10.0
    # Text for standard input, made anew for each start: secrets are not seen in `ps` this way.
    stdin: str | None = None
    # Asked before the program counts as started.
    is_ready: Callable[[], bool] = field(default=lambda: True)


@dataclass(slots=True)
class Child:
    """A program that was started."""

    program: Program
    process: subprocess.Popen[bytes]
    identity: Identity

    def exit_code(self) -> int | None:
        """Return how it ended, or None; what it left behind in its group ends with it."""
        if self.process.returncode is None and _has_ended(pid=self.process.pid):
            # Not reaped yet, so the id cannot have been given to another group.
            signal_group(pid=self.process.pid, number=signal.SIGKILL)
        return self.process.poll()


def start(*, program: Program, logs: Path) -> Child:
    """Start a program with its output in a log of its own."""
    user = program.user
    with open_log(folder=logs, name=program.name) as log:
        process = subprocess.Popen(
            program.command,
            cwd=program.folder,
            env=dict(program.environment),
            stdin=subprocess.PIPE if program.stdin is not None else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C in the terminal is for the supervisor, which knows the order to stop in.
            start_new_session=True,
            pass_fds=program.pass_fds,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )
    if process.stdin is not None:
        _feed(pipe=process.stdin, text=program.stdin or "")
    return Child(program, process, identify(pid=process.pid) or Identity(process.pid, "ended"))


def open_log(*, folder: Path, name: str) -> BinaryIO:
    """Open a log to append to; one that has grown large is put aside first."""
    path = folder / f"{name}.log"
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def signal_group(*, pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and what it started, if there still is any of them."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _feed(*, pipe: IO[bytes], text: str) -> None:
    try:
        pipe.write(text.encode())
        pipe.close()
    except BrokenPipeError:
        pass


def _has_ended(*, pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
