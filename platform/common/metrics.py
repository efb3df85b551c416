"""
Figures for Prometheus: counted by every process, given out by one of each machine.

Each process counts in files of its own, prometheus-client's multi-process mode. A process takes
the first set of files that nobody has locked and goes on counting where the last one stopped:
no sum ever falls because a process ended, and the files do not pile up.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import structlog
from django.conf import settings
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    start_http_server,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)

LOCK = "{}.lock"


class Slot:
    """The number of this process's files; another one in each process, also after a fork."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number, self.file = self._take()
        os.register_at_fork(after_in_child=self._leave)

    def __call__(self) -> int:
        """Return the number; asked at every count."""
        return self.number

    def _leave(self) -> None:
        # The parent's: its lock is not ours to keep.
        os.close(self.file)
        self.number, self.file = self._take()

    def _take(self) -> tuple[int, int]:
        for number in count():
            file = lock(self.folder / LOCK.format(number))
            if file is not None:
                forget_gauges(self.folder, number)
                return number, file
        raise AssertionError("count() ends")


def lock(path: Path) -> int | None:
    """Lock a file; None where somebody else has."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def forget_gauges(folder: Path, number: int) -> None:
    """Remove what a process that ended said of itself; its sums stay."""
    for path in folder.glob(f"gauge_live*_{number}.db"):
        path.unlink(missing_ok=True)


def forget_the_dead(folder: Path) -> None:
    """Remove what processes said of themselves that run no more."""
    for path in folder.glob(LOCK.format("*")):
        file = lock(path)
        if file is not None:
            forget_gauges(folder, int(path.name.partition(".")[0]))
            os.close(file)


@cache
def begin() -> None:
    """Count in files that all processes share; in memory where there can be none."""
    folder: Path = settings.METRICS_DIR
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        slot = Slot(folder)
    except OSError as error:
        log.error("Figures are not counted across processes", error=str(error))
        return
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(slot)  # type: ignore[no-untyped-call]  # its own


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """Return a sum that only grows."""
    begin()
    return Counter(name, text, labels, namespace="tollgate", registry=_unread())


def gauge(name: str, text: str, labels: Sequence[str] = (), *, largest: bool = False) -> Gauge:
    """Return a level: summed over the processes that run, or the largest of theirs."""
    begin()
    return Gauge(
        name,
        text,
        labels,
        namespace="tollgate",
        registry=_unread(),
        multiprocess_mode="livemax" if largest else "livesum",
    )


def histogram(
    name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
) -> Histogram:
    """Return a distribution."""
    begin()
    return Histogram(name, text, labels, namespace="tollgate", registry=_unread(), buckets=buckets)


@cache
def _unread() -> CollectorRegistry:
    """Where our own metrics register, each name once; the files are what is read."""
    return CollectorRegistry()


class Shared(Collector):
    """What all processes of this machine have counted."""

    def collect(self) -> Iterable[Metric]:
        """Read the files."""
        folder: Path = settings.METRICS_DIR
        if not folder.is_dir():
            return ()
        forget_the_dead(folder)
        files = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]  # its own
        found: Iterable[Metric] = files.collect()  # type: ignore[no-untyped-call]  # its own
        return found


class Endpoint:
    """The internal address; the first process of a machine that asks for it gives the figures."""

    def __init__(self, *collectors: Collector) -> None:
        self.registry = CollectorRegistry()
        for collector in (Shared(), *collectors):
            self.registry.register(collector)
        self.server: WSGIServer | None = None
        self.thread: threading.Thread | None = None

    def open(self) -> None:
        """Give figures here if nobody else does; asked again, it takes over from who ended."""
        if self.server is not None or not settings.METRICS_PORT:
            return
        try:
            self.server, self.thread = start_http_server(
                settings.METRICS_PORT, settings.METRICS_ADDR, self.registry
            )
        except OSError:
            return
        log.info("Figures for Prometheus", port=settings.METRICS_PORT)

    def close(self) -> None:
        """Leave the address to another process."""
        server, self.server = self.server, None
        if server is not None:
            server.shutdown()
            server.server_close()
