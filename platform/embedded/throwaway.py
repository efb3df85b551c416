"""
A PostgreSQL and a Redis that live as long as whoever started them.

`python -m embedded.throwaway` prints their addresses as one line of JSON and waits for the
end of its standard input. However its parent ends, that end comes: nothing is left behind.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded import environment, ports, postgres, redis
from embedded.program import Child, Program, signal_group, start
from embedded.refusal import Refusal

READY_WITHIN_S = 60.0


def main() -> int:
    """Serve until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        with servers(durable="--durable" in sys.argv) as urls:
            print(json.dumps(urls), flush=True)
            sys.stdin.read()
    except Refusal as refusal:
        print(json.dumps({"refusal": str(refusal)}), flush=True)
        return 1
    return 0


@contextmanager
def servers(*, durable: bool = False) -> Iterator[dict[str, str]]:
    """
    Run both servers in a temporary folder and give their addresses.

    Tests do without durable commits; a benchmark does not.

    :raises Refusal: if one of them does not start
    """
    folder = Path(tempfile.mkdtemp(prefix="tollgate-test-"))
    children: list[Child] = []
    try:
        password = environment.password()
        store = redis.program(
            folder=folder / "redis", password=password, port=ports.choose(), durable=False
        )
        database = postgres.program(
            folder=folder / "postgres",
            password=password,
            port=ports.choose(),
            settings={} if durable else postgres.THROWAWAY,
            sql=postgres.THROWAWAY_SQL,
        )
        for program in (store, database):
            children.append(_started(program=program, logs=folder))
        yield {
            "TOLLGATE_TEST_FOLDER": str(folder),
            "DATABASE_URL": postgres.url(password=password, port=database.port or 0),
            "REDIS_URL": redis.url(password=password, port=store.port or 0),
        }
    finally:
        for child in children:
            _stop(child=child)
        shutil.rmtree(folder, ignore_errors=True)


def _started(*, program: Program, logs: Path) -> Child:
    child = start(program=program, logs=logs)
    deadline = time.monotonic() + READY_WITHIN_S
    while not program.is_ready():
        if child.exit_code() is not None or time.monotonic() > deadline:
            _stop(child=child)
            log = (logs / f"{program.name}.log").read_text(errors="replace")
            raise Refusal(f"{program.name} did not start: {log[-2000:]}")
        time.sleep(0.02)
    return child


def _stop(*, child: Child) -> None:
    # Nobody needs the files: end at once.
    signal_group(pid=child.process.pid, number=child.program.force_signal)
    child.process.wait()


if __name__ == "__main__":
    sys.exit(main())
