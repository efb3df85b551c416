from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(**environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{ROOT}:{ROOT / 'platform'}"
    return subprocess.run(
        [sys.executable, "-c", "import sys, proxy.sandbox.app; print('django' in sys.modules)"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": path,
            **environment,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


class TestFromEnvironment:
    def test_it_needs_no_settings_and_no_django(self, tmp_path: Path) -> None:
        loaded = load(SANDBOX_TOKEN="x", SANDBOX_LOG=str(tmp_path / "a" / "calls.jsonl"))
        assert loaded.stdout.strip() == "False", loaded.stderr
        assert (tmp_path / "a" / "calls.jsonl").exists()

    @pytest.mark.parametrize(
        ("environment", "told"),
        [({}, "SANDBOX_TOKEN"), ({"SANDBOX_TOKEN": "x", "SANDBOX_LOOKUP": "maybe"}, "on or off")],
    )
    def test_a_wrong_environment_is_refused(self, environment: dict[str, str], told: str) -> None:
        loaded = load(**environment)
        assert loaded.returncode != 0
        assert told in loaded.stderr.splitlines()[-1]
