"""The product's own processes: what `make run` starts besides the servers."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from embedded import ports
from embedded.program import Program

ROOT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, "-m")


def sandbox(*, environment: Mapping[str, str], folder: Path, port: int) -> Program:
    """Return the sandbox provider."""
    return Program(
        name="sandbox",
        command=[
            *_uvicorn("proxy.sandbox.app:app", host=ports.LOOPBACK, port=port),
            "--http=httptools",
        ],
        environment={**environment, "SANDBOX_LOG": str(folder / "sandbox-calls.jsonl")},
        folder=ROOT,
        port=port,
        is_ready=partial(_accepts, host=ports.LOOPBACK, port=port),
    )


def web(*, environment: Mapping[str, str], host: str, port: int) -> Program:
    """Return the gateway with the dashboard."""
    return Program(
        name="web",
        # Streams get a moment to end; what is cut then is settled on what was delivered.
        command=[
            *_uvicorn("config.asgi:application", host=host, port=port),
            # Nothing need stand in front of it here, so it bounds headers itself.
            "--http=config.protocol:HttpProtocol",
            "--timeout-graceful-shutdown=5",
        ],
        environment={"SHUTDOWN_GRACE_S": "5", **environment},
        folder=ROOT,
        port=port,
        stop_within_s=20.0,
        is_ready=partial(_answers, host=_reachable(host=host), port=port, path="/readyz"),
    )


def worker(*, environment: Mapping[str, str]) -> Program:
    """Return the Celery worker."""
    flags = ("--concurrency=2", "--without-gossip", "--without-mingle", "--loglevel=WARNING")
    return Program(
        name="worker",
        command=[*PYTHON, "celery", "--app=config", "worker", *flags],
        environment=environment,
        folder=ROOT,
    )


def beat(*, environment: Mapping[str, str], folder: Path) -> Program:
    """Return the clock that puts periodic tasks into the queue."""
    flags = (f"--schedule={folder / 'celerybeat-schedule'}", "--pidfile=", "--loglevel=WARNING")
    return Program(
        name="beat",
        command=[*PYTHON, "celery", "--app=config", "beat", *flags],
        environment=environment,
        folder=ROOT,
    )


def manage(*arguments: str) -> list[str]:
    """Return the command line of a management command."""
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


def _uvicorn(application: str, *, host: str, port: int) -> list[str]:
    return [
        *PYTHON,
        "uvicorn",
        application,
        f"--host={host}",
        f"--port={port}",
        "--loop=uvloop",
        "--ws=none",
        # Nothing stands in front of it here: such headers would be forged.
        "--no-proxy-headers",
        # Longer than clients and load balancers keep an idle connection: they close first.
        "--timeout-keep-alive=75",
        "--no-server-header",
        "--no-access-log",
    ]


def _reachable(*, host: str) -> str:
    return {"0.0.0.0": ports.LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 - compared only


def _accepts(*, host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def _answers(*, host: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
