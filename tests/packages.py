"""
What tests run beside Python's own packages, installed once per checkout from its lock files.

Several processes may ask at once: one installs, the others wait.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
CACHE: Final = ROOT / ".cache" / "peers"
NPM: Final = ("ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
PIP: Final = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
MANIFESTS: Final = (".npmrc", "package.json", "package-lock.json")
WITHIN_S: Final = 300


class Missing(RuntimeError):
    """A program is not installed; the text says how to install it."""


def node(*, source: Path, folder: Path) -> None:
    """
    Put the ``node_modules`` that the lock file in ``source`` names into a folder.

    :raises Missing: there is no npm
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is missing: apt-get install nodejs npm")
    with _stale(folder / "node_modules", lock=source / "package-lock.json") as stale:
        if stale:
            if folder != source:
                for manifest in MANIFESTS:
                    shutil.copy(source / manifest, folder)
            subprocess.run([npm, *NPM], cwd=folder, check=True, timeout=WITHIN_S)


def python(*, requirements: Path, folder: Path) -> Path:
    """Return the Python of an environment in a folder, with what a locked list names."""
    program = folder / "bin" / "python"
    with _stale(folder, lock=requirements) as stale:
        if stale:
            venv.create(folder, with_pip=True, clear=True)
            command = [str(program), *PIP, "-r", str(requirements)]
            subprocess.run(command, check=True, timeout=WITHIN_S)
    return program


@contextmanager
def _stale(place: Path, *, lock: Path) -> Iterator[bool]:
    place.parent.mkdir(parents=True, exist_ok=True)
    stamp = CACHE / f"{place.relative_to(ROOT).as_posix().replace('/', '-')}.installed"
    stamp.parent.mkdir(parents=True, exist_ok=True)
    digest = sha256(lock.read_bytes()).hexdigest()
    with stamp.open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.seek(0)
        stale = held.read() != digest or not place.exists()
        if stale:
            held.truncate(0)
        yield stale
        if stale:
            held.write(digest)
