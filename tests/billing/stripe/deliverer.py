"""
Deliveries of webhooks, each in a process of its own that may crash: ``python -m`` with JSON.

It reads ``{"deliveries": [{"body", "signature", "crash"}], "at_once": 8}``. Where ``crash`` is a
number of milliseconds, the process kills itself that long after it began, wherever it is then;
where it is "stored", after the event was verified and stored and before it is booked.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

import django


def main() -> None:
    """Fork one process for each delivery; tell how many were killed."""
    django.setup()
    from billing.stripe import client

    # Made before the processes part: each of them would read all certificates.
    client.connect()
    wanted = json.loads(sys.stdin.read())
    waiting, running, killed = list(wanted["deliveries"]), 0, 0
    while waiting or running:
        if waiting and running < wanted["at_once"]:
            _fork(waiting.pop())
            running += 1
            continue
        _, status = os.wait()
        running -= 1
        killed += os.WIFSIGNALED(status)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    sys.stdout.write(json.dumps({"killed": killed}))


def _fork(delivery: dict[str, Any]) -> None:
    if os.fork():
        return
    status = 1
    try:
        _deliver(**delivery)
        status = 0
    finally:
        # Without what the parent meant to do at its end.
        sys.stderr.flush()
        os._exit(status)


def _deliver(*, body: str, signature: str, crash: int | str | None) -> None:
    from billing.stripe import events

    if isinstance(crash, int):
        threading.Timer(crash / 1000, _crash).start()
    stored = events.receive(body=body.encode(), signature=signature)
    if crash == "stored":
        _crash()
    if stored is not None:
        events.book(event_id=stored.pk)


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
