"""The servers and processes of one run, each of which can be killed, stopped and started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import redis

from embedded import environment, ports, postgres
from embedded import redis as embedded_redis
from embedded.program import Child, Program, signal_group, start

ROOT = Path(__file__).resolve().parents[2]
UP_WITHIN_S = 60.0
GATEWAYS = 2


def until(condition: Callable[[], bool], *, what: str, within_s: float = UP_WITHIN_S) -> None:
    """
    Wait for something to become true.

    :raises TimeoutError: it did not
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {within_s:.0f} s")
        time.sleep(0.02)


class Stores:
    """A PostgreSQL that really syncs, and a Redis."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        password = environment.password()
        redis_port, postgres_port = ports.choose(), ports.choose()
        self.redis_url = embedded_redis.url(password=password, port=redis_port)
        self.database_url = postgres.url(password=password, port=postgres_port)
        self.redis_program = embedded_redis.program(
            folder=folder / "redis", password=password, port=redis_port, durable=False
        )
        self.postgres_program = postgres.program(
            folder=folder / "postgres", password=password, port=postgres_port
        )
        self.redis: Child = self._start(self.redis_program)
        self.postgres: Child = self._start(self.postgres_program)
        until(self._redis_answers, what="Redis's start")
        until(self.database_answers, what="PostgreSQL's start")

    def _start(self, program: Program) -> Child:
        return start(program=program, logs=self.folder)

    def _redis_answers(self) -> bool:
        return self.redis_program.is_ready()

    def database_answers(self) -> bool:
        """Whether PostgreSQL takes a connection and answers a question."""
        try:
            with psycopg.connect(self.database_url, connect_timeout=5) as connection:
                connection.execute("select 1")
        except psycopg.Error:
            return False
        return True

    def kill_postgres(self) -> None:
        """End PostgreSQL, all its processes, as a failing machine does."""
        postmaster = self.postgres.process
        backends = children(postmaster.pid)
        postmaster.kill()
        for pid in backends:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        postmaster.wait()
        until(lambda: not any(map(runs, backends)), what="the end of PostgreSQL's processes")

    def start_postgres(self) -> None:
        """Start PostgreSQL again; it recovers, and answers when this returns."""
        self.postgres = self._start(self.postgres_program)
        until(self.database_answers, what="PostgreSQL's recovery")

    def pause_redis(self) -> None:
        """Stop Redis in its tracks: it keeps its connections and answers nothing."""
        signal_group(pid=self.redis.process.pid, number=signal.SIGSTOP)

    def resume_redis(self) -> None:
        """Let it go on."""
        signal_group(pid=self.redis.process.pid, number=signal.SIGCONT)

    def flush_redis(self) -> None:
        """Make Redis forget everything, the broker's messages included."""
        with redis.Redis.from_url(self.redis_url, socket_timeout=5) as client:
            client.flushall()

    def stop(self) -> None:
        """End both at once; nobody needs the files."""
        self.resume_redis()
        for child in (self.redis, self.postgres):
            signal_group(pid=child.process.pid, number=child.program.force_signal)
            child.process.wait()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Process:
    """A process of the product; it is started again when it dies, until it is to end."""

    def __init__(self, command: list[str], *, log: Path, environment: dict[str, str]) -> None:
        self.command = command
        self.log = log
        self.environment = environment
        self.deaths = 0
        self.wanted = True
        self.away = False
        self.process = self._start()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _watch(self) -> None:
        while self.wanted:
            if self.process.poll() is not None:
                self.deaths += 1
                # One that cannot reach the database ends at once; do not burn the processor.
                time.sleep(0.3)
                while self.away:
                    time.sleep(0.02)
                if self.wanted:
                    self.process = self._start()
            time.sleep(0.02)

    def kill(self) -> None:
        """End it and what it started as a crash does."""
        signal_group(pid=self.process.pid, number=signal.SIGKILL)

    def go_away(self) -> None:
        """End it as its whole machine would, until it is let back."""
        self.away = True
        self.kill()
        until(lambda: self.process.poll() is not None, what="a machine's end")

    def come_back(self) -> None:
        """Let it start again."""
        self.away = False

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self.wanted = self.away = False
        self.thread.join()
        signal_group(pid=self.process.pid, number=signal.SIGTERM)
        try:
            self.process.wait(25)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()


class Gateway(Process):
    """A gateway that ends itself where a file says: see ``points``. Its disk is its own."""

    def __init__(self, number: int, *, folder: Path) -> None:
        self.port = ports.choose()
        self.point = folder / f"gateway-{number}.point"
        self.spool = folder / f"gateway-{number}.disk"
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "uvicorn",
            "tests.chaos.points:application",
        ]
        command += ["--port", str(self.port), "--loop", "uvloop"]
        command += ["--http", "config.protocol:HttpProtocol"]
        command += ["--log-level", "warning", "--no-access-log", "--no-proxy-headers"]
        super().__init__(
            [*command, "--timeout-keep-alive=75", "--timeout-graceful-shutdown=5"],
            log=folder / f"gateway-{number}.log",
            environment={"CHAOS_POINT_FILE": str(self.point), "SPOOL_DIR": str(self.spool)},
        )

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://{ports.LOOPBACK}:{self.port}"

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            return httpx.get(f"{self.url}/livez", trust_env=False, timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def die_at(self, point: str) -> None:
        """Have it kill itself at a point, and wait until it has."""
        deaths = self.deaths
        self.point.write_text(point)
        until(lambda: self.deaths > deaths, what=f"a death at {point}")


class Worker(Process):
    """A Celery worker."""

    def __init__(self, *, folder: Path) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "celery", "--app=config", "worker"]
        command += ["--concurrency=1", "--without-gossip", "--without-mingle"]
        super().__init__(
            [*command, "--loglevel=WARNING"], log=folder / "worker.log", environment={}
        )
