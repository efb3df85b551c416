"""Beat may start a task twice, and workers may run both at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from django.db import connections
from pytest_django import Settings

from billing.models import Alert
from common import ids
from proxy import spool, tasks
from proxy.models import TaskHeartbeat

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(task: Callable[[], None]) -> None:
    gate = threading.Barrier(4)

    def run(_: int) -> None:
        try:
            gate.wait()
            task()
        finally:
            connections["default"].close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))


class TestTwiceAtOnce:
    def test_watching_the_spool_tells_once_and_ends_once(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        settings.SPOOL_DIR = tmp_path
        old = spool.Entry(time.time() - 300, ids.request_id(), msgspec.Raw(b"{}"))
        path = tmp_path / f"1{spool.SUFFIX}"
        path.write_bytes(spool.line_of(old))
        at_once(tasks.watch_spool)
        assert Alert.objects.get().closed_at is None

        path.unlink()
        at_once(tasks.watch_spool)
        assert Alert.objects.get().closed_at is not None

    def test_heartbeats(self) -> None:
        at_once(tasks.heartbeat)
        assert TaskHeartbeat.objects.count() == 1

    @pytest.mark.parametrize(
        "task", [tasks.tidy_kept, tasks.tidy_exports, tasks.sweep, tasks.reconcile_providers]
    )
    def test_with_nothing_to_do(self, task: Callable[[], None]) -> None:
        at_once(task)
        assert not Alert.objects.exists()
