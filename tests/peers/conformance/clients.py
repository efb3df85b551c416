"""Programs in other languages and environments, each told of the stack, each a column."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import packages
from tests.conformance.shapes import CLIENTS
from tests.conformance.stack import Stack

PEERS = packages.ROOT / "tests" / "peers"
WITHIN_S = 120
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
Outcomes = Mapping[str, str | None]


def outcomes(*, client: str, command: list[str], folder: Path, stack: Stack) -> Outcomes:
    """Run a client's program; return what went wrong with each shape, if anything."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(packages.ROOT), "STACK": stack.told()},
        text=True,
        stdout=subprocess.PIPE,
        timeout=WITHIN_S,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    told: dict[str, str | None] = {line["shape"]: line["error"] for line in lines}
    assert done.returncode == 0, f"{command} ended with {done.returncode} after {list(told)}"
    assert tuple(told) == CLIENTS[client].shapes
    return told


def check(outcomes: Outcomes, shape: str) -> None:
    """Fail with what the program said of a shape."""
    error = outcomes[shape]
    if error is not None:
        pytest.fail(error, pytrace=False)


def modules() -> Path:
    """
    Return the folder with the programs for Node, and the packages they need.

    :raises packages.Missing: there is no npm
    """
    source, folder = PEERS / "node", packages.CACHE / "node"
    packages.node(source=source, folder=folder)
    # Node looks for packages beside a program, so the programs go beside the packages.
    for program in source.glob("*.mjs"):
        (folder / program.name).write_bytes(program.read_bytes())
    return folder


def python(*, name: str) -> Path:
    """Return the Python of a client's own environment."""
    return packages.python(
        requirements=PEERS / name / "requirements.txt", folder=packages.CACHE / name
    )
