"""What has to be done to the database and the files before the product starts."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from embedded.processes import ROOT, manage
from embedded.program import open_log, signal_group
from embedded.refusal import Refusal
from embedded.signals import Signals
from embedded.terminal import last_lines


def prepare(*, environment: Mapping[str, str], logs: Path, signals: Signals) -> None:
    """
    Migrate, make sure the secrets fit the database, collect the static files.

    :raises Refusal: if one of these fails
    :raises Interrupted: if somebody wants us to stop
    """
    static = ("collectstatic", "--no-input", "--verbosity=0")
    with started(*static, environment=environment, logs=logs) as collecting:
        migrate = ("migrate", "--no-input", "--verbosity=0")
        run(*migrate, environment=environment, logs=logs, signals=signals)
        run("check_pepper", environment=environment, logs=logs, signals=signals)
        finish(process=collecting, name=static[0], logs=logs, signals=signals)


def seed(*, environment: Mapping[str, str], logs: Path, signals: Signals) -> dict[str, object]:
    """
    Make the demo's people, keys and balances, and return them.

    :raises Refusal: if that fails
    :raises Interrupted: if somebody wants us to stop
    """
    said = run("seed_demo", "--json", environment=environment, logs=logs, signals=signals)
    try:
        seeded = json.loads(said)
    except ValueError:
        raise Refusal(f"seed_demo did not print JSON; see {logs}/seed_demo.log") from None
    return dict(seeded)


def run(*arguments: str, environment: Mapping[str, str], logs: Path, signals: Signals) -> str:
    """
    Run a management command and return what it printed.

    :raises Refusal: if it fails, with its own words
    :raises Interrupted: if somebody wants us to stop
    """
    with started(*arguments, environment=environment, logs=logs) as process:
        return finish(process=process, name=arguments[0], logs=logs, signals=signals)


@contextmanager
def started(
    *arguments: str, environment: Mapping[str, str], logs: Path
) -> Iterator[subprocess.Popen[str]]:
    """Start a management command; it does not outlive the block."""
    with open_log(folder=logs, name=arguments[0]) as log:
        process = subprocess.Popen(
            manage(*arguments),
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                signal_group(pid=process.pid, number=signal.SIGTERM)


def finish(*, process: subprocess.Popen[str], name: str, logs: Path, signals: Signals) -> str:
    """
    Wait for a management command and return what it printed.

    :raises Refusal: if it failed, with its own words
    :raises Interrupted: if somebody wants us to stop
    """
    while process.poll() is None:
        signals.check()
        signals.wait(timeout_s=0.25)
    printed, _ = process.communicate()
    if process.returncode:
        raise Refusal(_reason(command=name, log=logs / f"{name}.log"))
    return printed


def _reason(*, command: str, log: Path) -> str:
    lines = last_lines(path=log, count=1) or ["no message"]
    return f"manage.py {command}: {lines[-1].removeprefix('CommandError: ')} (log: {log})"
