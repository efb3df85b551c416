"""
Ask an advisory service about every package that is locked; `make audit`.

Exit status 0: all were asked about, nothing is known. 1: something is known, or the audit itself
failed. 3: it could not be asked, which is not the same as nothing. pip-audit alone takes a package
that its service does not answer for as one without advisories.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOCKS: Final = (
    *("requirements.txt", "requirements-embedded.txt"),
    *("requirements-otel.txt", "requirements-dev.txt"),
)
# Advisories that do not concern us, each until a day: `ID until 2026-12-31: why`.
ACCEPTED: Final = ROOT / ".ci" / "accepted-advisories.txt"
SERVICES: Final = ("pypi", "osv")
AUDITOR: Final = str(Path(sys.executable).with_name("pip-audit"))
CLEAN, FOUND, NOT_RUN = 0, 1, 3
UNREACHABLE: Final = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|Max retries exceeded|NameResolutionError"
    r"|ServiceError|HTTPError: (403|404|407|429|5\d\d)"
)


def accepted(text: str, *, today: date) -> set[str]:
    """
    Read the list of what is accepted for now.

    :raises ValueError: a line has another form
    """
    found = set()
    for line in filter(None, (part.partition("#")[0].strip() for part in text.splitlines())):
        match = re.fullmatch(r"(\S+) until (\d{4}-\d\d-\d\d): \S.*", line)
        if match is None:
            raise ValueError(f"{ACCEPTED.name}: write `ID until YYYY-MM-DD: why`, not {line!r}")
        if date.fromisoformat(match[2]) >= today:
            found.add(match[1])
    return found


def ask(service: str) -> tuple[list[dict[str, Any]] | None, str]:
    """Return what a service says of each package, None where it says nothing; and the noise."""
    files = [word for name in LOCKS for word in ("-r", str(ROOT / name))]
    flags = ["--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json"]
    done = subprocess.run(
        [
            os.environ.get("PIP_AUDIT", AUDITOR),
            *files,
            *flags,
            f"--vulnerability-service={service}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None, done.stderr
    return dependencies, done.stderr


def known(dependencies: list[dict[str, Any]], *, besides: set[str]) -> list[str]:
    """One line for each advisory that is not accepted."""
    return [
        f"{each['name']} {each['version']}: {', '.join([found['id'], *found.get('aliases', [])])}"
        f" (fixed in {', '.join(found.get('fix_versions') or ['no version yet'])})"
        for each in dependencies
        for found in each.get("vulns", [])
        if not besides & {found["id"], *found.get("aliases", [])}
    ]


def main() -> int:
    """Ask one service after the other until one knows all packages."""
    besides = accepted(ACCEPTED.read_text(), today=datetime.now(tz=UTC).date())
    reasons = []
    for service in SERVICES:
        dependencies, noise = ask(service)
        if dependencies is None:
            if not UNREACHABLE.search(noise):
                print(noise, file=sys.stderr)
                print(f"pip-audit failed with the service {service}.", file=sys.stderr)
                return FOUND
            reasons.append(f"{service}: {noise.strip().splitlines()[-1][:200]}")
            continue
        if lines := known(dependencies, besides=besides):
            print("\n".join(lines))
            return FOUND
        unasked = [each for each in dependencies if "skip_reason" in each]
        if not unasked and dependencies:
            print(f"{len(dependencies)} packages, no known advisory ({service}).")
            return CLEAN
        why = unasked[0]["skip_reason"] if unasked else "no package at all"
        reasons.append(f"{service}: {len(unasked)} of {len(dependencies)} not asked about: {why}")
    print("not run: no advisory service")
    print("\n".join(reasons))
    return NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
