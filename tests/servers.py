"""
The throw-away PostgreSQL and Redis of one test run.

The first process that asks starts them; the workers of pytest-xdist inherit its environment
and find them there. They end with that first process, however it ends.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedded import environment

ROOT = Path(__file__).resolve().parents[1]
MARK = "TOLLGATE_TEST_FOLDER"
# What a developer may have set for other purposes would change what the tests see.
FOREIGN = ("ALLOWED_HOSTS", "BASE_URL", "DEBUG", "EMAIL_URL", "LOG_LEVEL", "SIGNUP_GRANT_USD")

_keeper: subprocess.Popen[str] | None = None


def require(*, durable: bool = False) -> None:
    """Put the addresses and fresh secrets into the environment that settings read."""
    if MARK not in os.environ:
        _start(durable=durable)
    _separate(worker=os.environ.get("PYTEST_XDIST_WORKER", ""))


def stop() -> None:
    """Stop what this process started, and wait until it is gone."""
    global _keeper
    if _keeper is not None:
        _keeper.communicate()
        _keeper = None


def _start(*, durable: bool) -> None:
    global _keeper
    _keeper = subprocess.Popen(
        [sys.executable, "-m", "embedded.throwaway", *(["--durable"] if durable else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        start_new_session=True,
    )
    # Also where pytest never got as far as its own end.
    atexit.register(stop)
    assert _keeper.stdout is not None
    said = json.loads(_keeper.stdout.readline() or '{"refusal": "the servers did not start"}')
    if "refusal" in said:
        pytest.exit(said["refusal"], returncode=3)
    for name in FOREIGN:
        os.environ.pop(name, None)
    made = environment.with_secrets({})
    os.environ.update(made, **said, DEMO="false", SANDBOX_URL="http://127.0.0.1:9")


def _separate(*, worker: str) -> None:
    # The database's name is pytest-django's business; Redis and the files are ours.
    number = int(worker.removeprefix("gw")) + 1 if worker else 0
    os.environ["REDIS_URL"] = os.environ["REDIS_URL"].rpartition("/")[0] + f"/{number}"
    folder = Path(os.environ[MARK]) / (worker or "main")
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["DATA_DIR"] = str(folder)
