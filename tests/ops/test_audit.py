"""The audit of dependencies: what is known fails, and silence is never taken for a yes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"name": "one", "version": "1.0", "vulns": []}
BAD = {
    "name": "two",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.1"]}],
}
UNASKED = {"name": "three", "skip_reason": "Dependency not found on PyPI"}


class Auditor:
    """Stands where pip-audit is: says what each service would let it say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "pip-audit"

    def says(self, **services: list[dict[str, Any]] | str) -> None:
        """Set what comes of each service: packages, or noise without an answer."""
        self.program.write_text(
            f"#!{sys.executable}\nimport json, sys\nsaid = {services!r}\n"
            "service = sys.argv[-1].partition('=')[2]\n"
            f"open({str(self.folder / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            "found = said[service]\n"
            "sys.exit(found) if isinstance(found, str) else "
            "print(json.dumps({'dependencies': found}))\n"
        )
        self.program.chmod(0o700)

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / ".ci" / "audit.py")],
            env={"PIP_AUDIT": str(self.program), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()


@pytest.fixture
def auditor(tmp_path: Path) -> Auditor:
    return Auditor(tmp_path)


def test_all_asked_about_and_nothing_known_passes(auditor: Auditor) -> None:
    auditor.says(pypi=[GOOD])
    done = auditor.run()

    assert done.returncode == 0, done.stderr
    assert "1 packages, no known advisory (pypi)" in done.stdout
    for name in ("", "-embedded", "-otel", "-dev"):
        assert f"/requirements{name}.txt" in auditor.asked[0]
    assert "--require-hashes" in auditor.asked[0]


def test_what_is_known_fails_and_is_named(auditor: Auditor) -> None:
    auditor.says(pypi=[GOOD, BAD, UNASKED])
    done = auditor.run()

    assert done.returncode == 1
    assert "two 2.0: PYSEC-1, CVE-2026-1 (fixed in 2.1)" in done.stdout


def test_a_package_that_nobody_answers_for_is_not_taken_for_a_good_one(auditor: Auditor) -> None:
    auditor.says(pypi=[GOOD, UNASKED], osv="requests.exceptions.ConnectionError: away")
    done = auditor.run()

    assert done.returncode == 3
    assert done.stdout.startswith("not run: no advisory service")
    assert "pypi: 1 of 2 not asked about" in done.stdout


def test_the_other_service_is_asked_where_the_first_does_not_answer(auditor: Auditor) -> None:
    auditor.says(pypi=[UNASKED], osv=[GOOD])
    assert auditor.run().returncode == 0

    auditor.says(pypi="ConnectionError: away", osv=[BAD])
    assert auditor.run().returncode == 1


def test_nothing_at_all_is_no_answer(auditor: Auditor) -> None:
    auditor.says(pypi=[], osv=[])

    assert auditor.run().returncode == 3


def test_an_audit_that_breaks_fails(auditor: Auditor) -> None:
    auditor.says(pypi="ValueError: a requirement without its hash")

    assert auditor.run().returncode == 1


def test_each_accepted_advisory_has_a_day_and_a_reason() -> None:
    script = (
        "import runpy, sys; from datetime import date; accepted = runpy.run_path(sys.argv[1])"
        "['accepted']; print(*sorted(accepted(sys.argv[2], today=date(2026, 6, 1))))"
    )

    def read(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, str(ROOT / ".ci" / "audit.py"), text],
            capture_output=True,
            text=True,
            check=False,
        )

    lines = "# why\nCVE-1 until 2026-06-01: not called\nCVE-2 until 2026-05-31: over\n"
    assert read(lines).stdout.split() == ["CVE-1"]
    for wrong in ("CVE-1", "CVE-1 until 2026-06-01", "CVE-1 until soon: x", "CVE-1: x"):
        assert read(wrong).returncode != 0, wrong
    assert read((ROOT / ".ci" / "accepted-advisories.txt").read_text()).returncode == 0


def test_ci_runs_it_and_says_when_it_could_not() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert "step audit " in text
    assert "NOT RUN" in text
