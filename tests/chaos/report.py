"""docs/chaos.md, written from the figures of a run."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PATH = Path(__file__).resolve().parents[2] / "docs" / "chaos.md"
LINES = {
    "rounds": "rounds",
    "acknowledged": "acknowledged settlements",
    "lost": "lost",
    "wrong": "wrong",
    "holds_left": "holds left",
    "upstream_calls": "calls in the providers' own log",
    "exact": "of these, charged exactly",
    "estimated": "charged by our own count (the gateway died, the provider has no lookup)",
    "unknown": "listed as unknown, charged nothing",
    "free": "finished after we had given up on them: charged nothing, marked lost",
    "late": "settled after their hold had expired",
    "superseded": "acknowledged on a disk that came back after a sweep had charged their "
    "checkpoint: the estimate stands, listed for staff",
    "gateway_deaths": "gateway processes killed",
    "took_s": "seconds",
}
HEAD = """# Money under fire

Written by `make chaos` (`tests/chaos`), which anyone can repeat: two gateways sell to callers who
hang up, repeat themselves and are refused, while gateways are killed at chosen points, PostgreSQL
is killed and stays away for longer than a hold lives, Redis forgets or stalls, a Celery worker
dies, caps are lowered and keys disabled. A sweep runs all the while. After quiet and one sweep the
ledger is compared with the providers' own log, with what every caller was told, and with its own
invariants.

"""


def write(figures: dict[str, Any]) -> None:
    """Write the page."""
    PATH.write_text(page(figures))


def page(figures: dict[str, Any]) -> str:
    """Return the page."""
    day = datetime.now(tz=UTC).date().isoformat()
    text = HEAD + f"{day}, seed {figures['seed']}, {os.cpu_count()} cores, {platform.system()} "
    text += f"{platform.machine()}, Python {platform.python_version()}.\n\n| what | |\n|---|---:|\n"
    text += "".join(f"| {label} | {figures[name]:,} |\n" for name, label in LINES.items())
    text += "\n| fault | times |\n|---|---:|\n"
    text += "".join(f"| {name} | {count} |\n" for name, count in figures["faults"].items())
    return text
