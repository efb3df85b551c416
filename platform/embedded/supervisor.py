"""
Keeps programs running, and stops exactly those it started.

A program that ends is started again, after half a second first and ten seconds at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedded.instance import STOP_ORDER
from embedded.program import Child, Program, signal_group, start
from embedded.refusal import Refusal
from embedded.signals import Signals
from embedded.terminal import Tail, last_lines, say

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
# After this long a program counts as well again.
WELL_AFTER_S = 30.0
POLL_S = 0.25
FORCE_WITHIN_S = 5.0


@dataclass(slots=True)
class Post:
    """A program's place: what runs there now, and when to try again."""

    program: Program
    tail: Tail
    child: Child | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause_s: float = FIRST_PAUSE_S


class Supervisor:
    """Programs by name, in the order they were started."""

    def __init__(self, *, logs: Path, signals: Signals, on_change: Callable[[], None]) -> None:
        self._logs = logs
        self._signals = signals
        self._on_change = on_change
        self._posts: dict[str, Post] = {}

    @property
    def children(self) -> list[Child]:
        """What runs now."""
        return [post.child for post in self._posts.values() if post.child]

    def start(self, *, program: Program) -> None:
        """Start a program and keep it running from now on."""
        log = self._logs / f"{program.name}.log"
        post = Post(program, Tail(path=log))
        self._posts[program.name] = post
        self._start(post=post)

    def await_ready(self, *, name: str, within_s: float) -> None:
        """
        Wait until a program is ready.

        :raises Refusal: if it ends or takes too long, with the end of its log
        :raises Interrupted: if somebody wants us to stop
        """
        post = self._posts[name]
        deadline = time.monotonic() + within_s
        while not post.program.is_ready():
            self._signals.check()
            if post.child is None or post.child.exit_code() is not None:
                raise Refusal(self._failure(name=name, what="ended while starting"))
            if time.monotonic() > deadline:
                raise Refusal(self._failure(name=name, what=f"not ready after {within_s:.0f} s"))
            self._signals.wait(timeout_s=0.05)

    def watch(self) -> None:
        """Look after everything once: report, notice what ended, start it again."""
        for post in self._posts.values():
            for line in post.tail.important():
                say(f"{post.program.name:>8} | {line}")
            if post.child and (code := post.child.exit_code()) is not None:
                self._ended(post=post, code=code)
            elif post.child is None and time.monotonic() >= post.start_at:
                self._start(post=post)

    def stop(self) -> None:
        """Stop everything in order; a second wish to stop ends what is left at once."""
        wishes = max(self._signals.wishes, 1)
        for row in STOP_ORDER:
            posts = [self._posts[name] for name in row if name in self._posts]
            for child in (post.child for post in posts if post.child):
                # A gentle signal goes to the program alone: it tells its own children.
                if child.exit_code() is None:
                    child.process.send_signal(child.program.stop_signal)
            for post in posts:
                if post.child:
                    self._see_off(child=post.child, wishes=wishes)
                post.child = None

    def _start(self, *, post: Post) -> None:
        post.child = start(program=post.program, logs=self._logs)
        post.started_at = time.monotonic()
        self._on_change()

    def _ended(self, *, post: Post, code: int) -> None:
        now = time.monotonic()
        if now - post.started_at > WELL_AFTER_S:
            post.pause_s = FIRST_PAUSE_S
        how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
        log = self._logs / f"{post.program.name}.log"
        say(f"{post.program.name:>8} | {how}, again in {post.pause_s:g} s (log: {log})")
        post.child = None
        post.start_at = now + post.pause_s
        post.pause_s = min(post.pause_s * 2, LONGEST_PAUSE_S)
        self._on_change()

    def _see_off(self, *, child: Child, wishes: int) -> None:
        patience_s = child.program.stop_within_s
        if not self._ends(child=child, within_s=patience_s, wishes=wishes):
            signal_group(pid=child.process.pid, number=child.program.force_signal)
            self._ends(child=child, within_s=FORCE_WITHIN_S, wishes=1_000_000)

    def _ends(self, *, child: Child, within_s: float, wishes: int) -> bool:
        deadline = time.monotonic() + within_s
        while child.exit_code() is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self._signals.wishes > wishes:
                return False
            self._signals.wait(timeout_s=min(left_s, POLL_S))
        return True

    def _failure(self, *, name: str, what: str) -> str:
        log = self._logs / f"{name}.log"
        lines = [f"{name} {what}; the end of {log}:", *last_lines(path=log, count=8)]
        return "\n    ".join(lines)
