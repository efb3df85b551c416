"""Calls that happen at one moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from django.db import connection, transaction

from accounts.errors import Refused

T = TypeVar("T")


def together(*calls: Callable[[], object]) -> list[Exception]:
    """Run the calls at one moment, each on a connection of its own; what they raised."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], object]) -> Exception | None:
        try:
            barrier.wait()
            call()
        except Refused as error:
            return error
        finally:
            connection.close()
        return None

    with ThreadPoolExecutor(len(calls)) as pool:
        return [error for error in pool.map(run, calls) if error is not None]


def behind(first: Callable[[], object], second: Callable[[], T]) -> T:
    """Run the first, commit it once the second waits for its locks; what the second answers."""

    def run() -> T:
        try:
            return second()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first()
            answered = pool.submit(run)
            _wait_for_a_waiter()
        return answered.result(timeout=30)


def _wait_for_a_waiter() -> None:
    deadline = time.monotonic() + 30
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "select count(*) from pg_locks"
                " where not granted and pg_backend_pid() = any(pg_blocking_pids(pid))"
            )
            if cursor.fetchone()[0]:
                return
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.02)
