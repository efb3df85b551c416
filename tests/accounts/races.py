"""Calls that happen at one moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from django.db import connection

from accounts.errors import Refused


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
