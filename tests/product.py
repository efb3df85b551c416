"""The whole product as `make run` starts it, for tests that need real processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded import identity, ports

ROOT = Path(__file__).resolve().parents[1]
# Everything else in a test's environment leads to the test's own servers.
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER")
UP_WITHIN_S = 90.0
SUPERVISOR = "embedded.run"


@dataclass(frozen=True, slots=True)
class Product:
    """One supervisor and what it started."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int
    output: Path

    @property
    def demo(self) -> dict[str, str]:
        """The logins and the key."""
        return dict(json.loads((self.folder / "demo.json").read_text()))

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now."""
        return dict(json.loads((self.folder / "run.json").read_text())["pids"])

    def said(self) -> str:
        """Return all that was printed so far."""
        return self.output.read_text()

    def page(self, path: str) -> str:
        """Return the text of a page."""
        url = f"http://{ports.LOOPBACK}:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    def get(self, path: str) -> int:
        """Return the status of a page, 0 if nobody answers."""
        connection = http.client.HTTPConnection(ports.LOOPBACK, self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def post(self, path: str, *, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send JSON with the demo's key; return the status and the answer."""
        connection = http.client.HTTPConnection(ports.LOOPBACK, self.port, timeout=60)
        key = self.demo["api_key"]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        try:
            connection.request("POST", path, body=json.dumps(body), headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(json.loads(answer.read()))
        finally:
            connection.close()

    def manage(self, *arguments: str) -> str:
        """Run a management command as from a second terminal; return what it printed."""
        environment = {**_environment(), "DATA_DIR": str(self.folder)}
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        done = subprocess.run(
            command, env=environment, cwd=ROOT, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def interrupt(self) -> int:
        """Press Ctrl-C and wait; return the exit code."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout=60)


def launch(
    *, folder: Path, port: int | None = None, module: str = SUPERVISOR, **environment: str
) -> Product:
    """Start the product; it is up when this returns."""
    product = spawn(folder=folder, port=port, module=module, **environment)
    until(lambda: "Tollgate is running." in product.said() or product.process.poll() is not None)
    assert product.process.poll() is None, product.said()
    return product


def spawn(
    *, folder: Path, port: int | None = None, module: str = SUPERVISOR, **environment: str
) -> Product:
    """Start the product without waiting for it."""
    chosen = port or ports.choose()
    output = folder.with_name(f"{folder.name}.{time.monotonic_ns()}.out")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env={
                **_environment(),
                "PYTHONPATH": str(ROOT / "platform"),
                "PORT": str(chosen),
                "DATA_DIR": str(folder),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Product(process, folder, chosen, output)


def until(condition: Callable[[], bool], *, within_s: float = UP_WITHIN_S) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def is_running(*, pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    return bool(identity.started(pid=pid))


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ}
