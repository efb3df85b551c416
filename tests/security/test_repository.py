"""What must never be in the repository, and what dependencies must at least be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Shapes of real secrets; what tests make up is not of these shapes.
SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{40}",
    "an AWS key": r"\bAKIA[0-9A-Z]{16}\b",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36}\b",
    "a Stripe key": r"\b[sr]k_live_[A-Za-z0-9]{20,}",
    "an OpenAI key": r"\bsk-proj-[A-Za-z0-9_-]{40,}",
    "an Anthropic key": r"\bsk-ant-api\d\d-[A-Za-z0-9_-]{40,}",
    "a Slack token": r"\bxox[baprs]-\d{10,}-",
}
# CVE or advisory, package, the first version without it.
FLOORS = [
    ("CVE-2025-43859", "h11", (0, 16, 0)),
    ("CVE-2024-47874", "starlette", (0, 40, 0)),
    ("CVE-2025-54121", "starlette", (0, 47, 2)),
]


def tracked() -> list[Path]:
    """Return the files of the repository, as git knows them, or all there are."""
    listed = subprocess.run(
        [shutil.which("git") or "git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def pinned(package: str) -> tuple[int, ...] | None:
    text = (ROOT / "requirements.txt").read_text()
    found = re.search(rf"^{re.escape(package)}==([\d.]+)", text, re.MULTILINE)
    return tuple(int(part) for part in found[1].split(".")) if found else None


@pytest.mark.parametrize("what", SECRETS)
def test_no_file_has_a_secret(what: str) -> None:
    pattern = re.compile(SECRETS[what])
    found = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.is_file() and pattern.search(path.read_text(errors="ignore"))
    ]
    assert found == []


def test_no_environment_or_data_is_tracked() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in tracked()]
    assert not [name for name in names if re.search(r"(^|/)(\.env|demo\.json|run\.json)$", name)]


def test_every_locked_package_has_its_hashes() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-embedded.txt"):
        text = (ROOT / name).read_text()
        packages = re.findall(r"^[a-z0-9._-]+(?:\[[^]]*\])?==", text, re.MULTILINE)
        blocks = re.findall(r"^[a-z0-9._\[\],-]+==[^\n]*\\\n\s+--hash=sha256:", text, re.MULTILINE)
        assert len(blocks) == len(packages) > 3


@pytest.mark.parametrize(("advisory", "package", "floor"), FLOORS)
def test_dependencies_are_newer_than_known_holes(
    advisory: str, package: str, floor: tuple[int, ...]
) -> None:
    version = pinned(package)
    assert version is None or version >= floor, f"{advisory}: {package}"
