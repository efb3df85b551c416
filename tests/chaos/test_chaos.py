"""Money under fire, the short run; `make chaos` is the long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROUNDS, SETTLEMENTS, SEED = 3, 2000, 4
# What the servers of this test run have put into the environment leads elsewhere.
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER")


@pytest.mark.timeout(300)
def test_after_every_fault_the_books_agree_with_providers_and_callers() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.chaos.run", "--deal"]
    command += ["--rounds", str(ROUNDS), "--settlements", str(SETTLEMENTS), "--seed", str(SEED)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={name: os.environ[name] for name in KEPT if name in os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "\n{\n" in done.stdout, done.stdout + done.stderr
    figures = json.loads(done.stdout[done.stdout.index("\n{\n") :])
    assert figures["trouble"] == []
    assert (figures["lost"], figures["wrong"], figures["holds_left"]) == (0, 0, 0)
    assert figures["acknowledged"] >= SETTLEMENTS
    # What a lost machine had on its disk came back after a sweep had given it up, or estimated.
    assert figures["late"] >= 1
    assert figures["corrected"] >= 1
    assert min(figures["faults"].values()) >= 1
    assert done.returncode == 0
