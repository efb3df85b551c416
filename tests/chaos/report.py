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
    "corrected": "of the exact ones, corrected: a sweep had charged an estimate before the disk "
    "came back that had the evidence",
    "gateway_deaths": "gateway restarts (kills plus failed starts)",
    "took_s": "seconds",
}
HEAD = """# Money under fire

Written by `make chaos` (`tests/chaos`), which anyone can repeat: two gateways sell to callers who
hang up, repeat themselves and are refused, while gateways are killed at chosen points, PostgreSQL
is killed and stays away for longer than a hold lives, a machine is lost with settlements on its
disk, Redis forgets or stalls, a Celery worker dies, caps are lowered and keys disabled. A sweep
runs all the while, and sees no gateway's disk. After quiet and one sweep the ledger is compared
with the providers' own log, with what every caller was told, and with its own invariants.

How each call in a provider's log is judged:

- charged: one attempt won, at that provider, and the price is exactly what its log says; or, where
  the gateway died and the provider cannot be asked, our own count, marked as an estimate and never
  above what its provider made. Every further time it reached a provider is an attempt marked lost.
- given up by us (a time limit, a failure) though the provider may have finished it: charged
  nothing; each time it reached a provider is an attempt marked lost there, at our exact cost where
  somebody told us, else none.
- no evidence: charged nothing, listed as unknown. A settlement that waited on a disk meanwhile
  charges it late, exactly, and its attempts are no longer unknown.
- an estimate that a sweep charged gives way when the disk comes back that has the evidence: the
  difference is booked, and the call counts as charged exactly. One that stands all the same is
  wrong.
- anything else is a failure of the run, and so is a caller who was told another price than the
  ledger has.

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
