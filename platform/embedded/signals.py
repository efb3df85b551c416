"""Signals as something to wait for, so that no work is done inside a handler."""

from __future__ import annotations

import os
import select
import signal
import time
from types import FrameType

from embedded.refusal import Interrupted

# make passes SIGTERM on to us although the group had it already: that is one wish, not two.
SAME_WISH_S = 1.0


class Signals:
    """Counts wishes to stop, and wakes up for them and for children that ended."""

    def __init__(self) -> None:
        self.wishes = 0
        self._last_wish = 0.0
        self._reader, writer = os.pipe()
        for end in (self._reader, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, self._wake)

    def wait(self, *, timeout_s: float) -> None:
        """Sleep, but not through a signal."""
        if select.select([self._reader], [], [], timeout_s)[0]:
            try:
                os.read(self._reader, 4096)
            except BlockingIOError:
                pass

    def check(self) -> None:
        """
        Go on only if nobody wants us to stop.

        :raises Interrupted: if somebody does
        """
        if self.wishes:
            raise Interrupted

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.wishes or now - self._last_wish > SAME_WISH_S:
            self.wishes += 1
        self._last_wish = now

    def _wake(self, _number: int, _frame: FrameType | None) -> None:
        """Exist: without a handler the wake-up descriptor would not be written."""
