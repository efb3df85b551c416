"""What has to be done to the database and the files before the product starts."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping
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
    for arguments in (
        ("migrate", "--no-input", "--verbosity=0"),
        ("check_pepper",),
        ("collectstatic", "--no-input", "--verbosity=0"),
    ):
        run(*arguments, environment=environment, logs=logs, signals=signals)


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
        raise Refusal(f"seed_demo did not print JSON; see {logs / 'setup.log'}") from None
    return dict(seeded)


def run(*arguments: str, environment: Mapping[str, str], logs: Path, signals: Signals) -> str:
    """
    Run a management command and return what it printed.

    :raises Refusal: if it fails, with its own words
    :raises Interrupted: if somebody wants us to stop
    """
    with open_log(folder=logs, name="setup") as log:
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
    try:
        while process.poll() is None:
            signals.check()
            signals.wait(timeout_s=0.25)
    finally:
        if process.poll() is None:
            signal_group(pid=process.pid, number=signal.SIGTERM)
        printed, _ = process.communicate()
    if process.returncode:
        raise Refusal(_reason(command=arguments[0], log=logs / "setup.log"))
    return printed


def _reason(*, command: str, log: Path) -> str:
    lines = last_lines(path=log, count=1) or ["no message"]
    return f"manage.py {command}: {lines[-1].removeprefix('CommandError: ')} (log: {log})"
