"""What must never be in the repository, and what dependencies must at least be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sysconfig
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
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a package registry's token": r"\b(?:pypi-AgEI|npm_)[A-Za-z0-9_-]{30,}",
    "a key of ours": r"\bsk-tg-[0-9A-Za-z]{32}\b",
    "a webhook secret": r"\bwhsec_[A-Za-z0-9+/]{40,}={0,2}",
    "a signed token": r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}",
    "a password in an address": r"\b(?:postgres(?:ql)?|rediss?|https?)://\w+:(?![<{$%…])"
    r"[A-Za-z0-9+/_-]{20,}@",
}
# What has such a shape and is none, with what it is.
INVENTED: dict[str, str] = {}
LOCKS = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-embedded.txt",
    "requirements-otel.txt",
)
# CVE or advisory, package, the first version without it.
FLOORS = [
    ("CVE-2025-43859", "h11", (0, 16, 0)),
    ("CVE-2026-33034", "django", (5, 2, 14)),
    ("CVE-2026-5766", "django", (5, 2, 14)),
    ("CVE-2026-35192", "django", (5, 2, 14)),
    ("CVE-2026-128131", "aiohttp", (3, 14, 4)),
    ("CVE-2024-47874", "starlette", (0, 40, 0)),
    ("CVE-2025-54121", "starlette", (0, 47, 2)),
]


PASSED_OVER = {".git", ".venv", "node_modules", "var", ".mypy_cache", ".ruff_cache", ".hypothesis"}


def git(*words: str) -> str:
    """Return what git says; nothing where this is no checkout."""
    said = subprocess.run(
        [shutil.which("git") or "git", *words], cwd=ROOT, capture_output=True, check=False
    )
    return said.stdout.decode(errors="replace")


def tracked() -> list[Path]:
    """Return the files of the repository, as git knows them, or all there are."""
    if names := git("ls-files", "-z"):
        return [ROOT / name for name in names.split("\0") if name]
    return [path for path in ROOT.rglob("*") if not PASSED_OVER & set(path.parts)]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every file, and every line that any commit ever added."""
    found = {
        str(path.relative_to(ROOT)): path.read_text(errors="ignore")
        for path in tracked()
        if path.is_file()
    }
    assert len(found) > 500
    added = git("log", "--all", "--patch", "--unified=0", "--no-color", "--no-textconv")
    return {**found, "the history": added}


def pinned(package: str) -> tuple[int, ...] | None:
    text = (ROOT / "requirements.txt").read_text()
    found = re.search(rf"^{re.escape(package)}==([\d.]+)", text, re.MULTILINE)
    return tuple(int(part) for part in found[1].split(".")) if found else None


def hits(pattern: str, text: str) -> list[str]:
    """Return what has the shape of a secret and is not known to be invented."""
    found = (match[0] for match in re.finditer(pattern, text))
    return [each for each in found if each not in INVENTED]


@pytest.mark.parametrize("what", SECRETS)
def test_no_file_and_no_commit_has_a_secret(what: str, texts: dict[str, str]) -> None:
    # Only where: a secret that was found must not be printed into a log.
    assert [name for name, text in texts.items() if hits(SECRETS[what], text)] == []


def test_the_scan_finds_secrets() -> None:
    # Put together here, so that this file has none.
    made = {
        "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "A" * 64,
        "an AWS key": "AKIA" + "ABCDEFGH23456789",
        "a GitHub token": "ghp" + "_" + "a1" * 18,
        "a Stripe key": "sk" + "_live_" + "a1" * 12,
        "an OpenAI key": "sk-" + "proj-" + "a1" * 24,
        "an Anthropic key": "sk-" + "ant-api03-" + "a1" * 24,
        "a Slack token": "xoxb" + "-1234567890-",
        "a Google key": "AIza" + "a" * 35,
        "a package registry's token": "npm" + "_" + "a" * 36,
        "a key of ours": "sk-" + "tg-" + "a" * 32,
        "a webhook secret": "whsec" + "_" + "a" * 44,
        "a signed token": ".".join(["eyJ" + "a" * 30] * 2 + ["b" * 30]),
        "a password in an address": "postgres" + "://tollgate:" + "a1" * 12 + "@db",
    }
    assert made.keys() == SECRETS.keys()
    for what, text in made.items():
        assert hits(SECRETS[what], f'KEY = "{text}"'), what


def test_no_environment_or_data_is_tracked() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in tracked()]
    assert not [name for name in names if re.search(r"(^|/)(\.env|demo\.json|run\.json)$", name)]


def test_every_locked_package_has_its_hashes() -> None:
    for name in LOCKS:
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


def test_every_script_of_the_browser_has_its_hash() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert lock["lockfileVersion"] == 3
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert len(packages) > 10
    for name, each in packages.items():
        bundled = each.get("inBundle", False)
        assert bundled or each.get("integrity", "").startswith("sha512-"), name
        assert not each.get("link"), name
        assert each.get("resolved", "https://").startswith("https://"), name
    asked = json.loads((ROOT / "package.json").read_text())
    for name, version in asked["devDependencies"].items():
        assert re.fullmatch(r"[\d.]+", version), "one version, not a range"
        assert packages[f"node_modules/{name}"]["version"] == version


# A .pth file is read, and its lines that begin with import are run, at every start of Python.
KNOWN_PTH = {"distutils-precedence.pth"}


def test_nothing_unknown_runs_at_each_start_of_python() -> None:
    folder = Path(sysconfig.get_path("purelib"))
    assert {path.name for path in folder.glob("*.pth")} <= KNOWN_PTH
    assert not list(folder.glob("sitecustomize.py")) + list(folder.glob("usercustomize.py"))
    written = (ROOT / "Dockerfile").read_text()
    assert "-name '*.pth'" in written
    for name in KNOWN_PTH:
        assert name in written


def test_the_server_is_the_one_that_was_chosen() -> None:
    # No other server of requests, and no WebSockets, which none of ours needs.
    for name in ("granian", "hypercorn", "gunicorn", "daphne", "websockets", "wsproto"):
        assert pinned(name) is None, name
    units = (ROOT / "deploy" / "systemd" / "tollgate-web@.service").read_text()
    assert "--ws=none" in units
    assert '"--ws=none"' in (ROOT / "Dockerfile").read_text()
    assert pinned("httptools") is not None
