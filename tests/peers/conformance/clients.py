"""Programs in other languages and environments, each told of the stack, each a column."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conformance.shapes import CLIENTS
from tests.conformance.stack import Stack

ROOT = Path(__file__).resolve().parents[3]
PEERS = ROOT / "tests" / "peers"
CACHE = ROOT / ".cache" / "peers"
WITHIN_S = 120
INSTALLED_WITHIN_S = 240
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
Outcomes = Mapping[str, str | None]


def outcomes(*, client: str, command: list[str], folder: Path, stack: Stack) -> Outcomes:
    """Run a client's program; return what went wrong with each shape, if anything."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), "STACK": stack.told()},
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


def modules(*, npm: str) -> Path:
    """Install what the programs for Node need, where that has changed; return the folder."""
    source = PEERS / "node"
    folder = CACHE / "node"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (".npmrc", "package.json", "package-lock.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    if _is_stale(folder, source / "package-lock.json"):
        flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run([npm, "ci", *flags], cwd=folder, check=True, timeout=INSTALLED_WITHIN_S)
        _mark(folder, source / "package-lock.json")
    # Node looks for packages beside a program, so the programs go beside the packages.
    for program in source.glob("*.mjs"):
        (folder / program.name).write_bytes(program.read_bytes())
    return folder


def python(*, name: str) -> Path:
    """Install a client into an environment of its own, if it has changed; return its Python."""
    requirements = PEERS / name / "requirements.txt"
    folder = CACHE / name
    program = folder / "bin" / "python"
    if _is_stale(folder, requirements):
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "--require-hashes", "-r", str(requirements)],
            check=True,
            timeout=INSTALLED_WITHIN_S,
        )
        _mark(folder, requirements)
    return program


def _is_stale(folder: Path, lock: Path) -> bool:
    stamp = folder / "installed"
    return not stamp.exists() or stamp.read_text() != _digest(lock)


def _mark(folder: Path, lock: Path) -> None:
    (folder / "installed").write_text(_digest(lock))


def _digest(lock: Path) -> str:
    return sha256(lock.read_bytes()).hexdigest()
