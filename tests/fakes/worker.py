"""A real Celery worker in processes of its own, as `make run` starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import TracebackType

from celery import current_app
from django.conf import settings

# A child that was about to begin may take background.START_TIMEOUT_S, then three DRAIN_S.
LONGEST_STOP_S = 60


class WorkerProcess:
    """``with WorkerProcess() as worker: ... worker.kill()``."""

    def __init__(self, **environment: str) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        database = settings.DATABASES["default"]
        account = f"{database['USER']}:{database['PASSWORD']}"
        url = f"postgres://{account}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-m", "celery", "--app=config", "worker"),
                *("--concurrency=2", "--without-gossip", "--without-mingle"),
                "--loglevel=WARNING",
            ],
            cwd=settings.BASE_DIR,
            env={
                **os.environ,
                "DATABASE_URL": url,
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "PYTHONPATH": str(settings.BASE_DIR / "platform"),
                "LOG_LEVEL": "WARNING",
                **self._environment,
            },
            start_new_session=True,
        )
        deadline = time.monotonic() + 90
        while not current_app.control.ping(timeout=0.5, limit=1):
            assert self._process.poll() is None, "the worker refused to start"
            assert time.monotonic() < deadline, "the worker did not start"

    def kill(self) -> None:
        """End it and its children as a crash of the machine does."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> WorkerProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(LONGEST_STOP_S)
            except subprocess.TimeoutExpired:
                # Celery prints what each of its threads does.
                os.killpg(self._process.pid, signal.SIGUSR1)
                time.sleep(1)
                self.kill()
                raise
