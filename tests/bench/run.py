"""
`make bench`: exact money at gateway speed, measured beside gateways of others.

    make bench                          all parts; writes docs/benchmarks.md
    make bench ARGS="peers"             some parts: peers, two, large, idle, lists
    BENCH_SECONDS=3 BENCH_ROUNDS=1 …    shorter; BENCH_CUSTOMERS, BENCH_CALLS for `large`

Everything runs on this machine; compare ratios of one run, not numbers of two machines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from tests import servers  # noqa: E402
from tests.bench import contenders, loads, machine, parts, peers, report  # noqa: E402

PARTS = {
    "peers": parts.peers,
    "two": parts.two,
    "large": parts.large,
    "idle": parts.idle,
    "lists": parts.lists,
}

FAILURES = (
    *(peers.Missing, parts.Disagreement, loads.Failed),
    *(TimeoutError, subprocess.CalledProcessError),
)


def main(names: list[str]) -> int:
    """Run the parts; 1 where something disagrees or is missing."""
    unknown = set(names) - set(PARTS)
    if unknown:
        sys.stderr.write(f"No such part: {', '.join(unknown)}. There are {', '.join(PARTS)}.\n")
        return 1
    try:
        prepare(names or list(PARTS))
        servers.require(durable=True)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}",
            "LOG_LEVEL": "WARNING",
        }
        with contenders.stubs() as there:
            began = datetime.now(UTC).isoformat()
            for name in names or PARTS:
                run_part(name, there, run=began)
    except FAILURES as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    finally:
        servers.stop()
    report.write()
    return 0


def prepare(names: list[str]) -> None:
    """
    Look for the tools and install the peers.

    :raises peers.Missing: a tool is not installed
    """
    for name in ("wrk", "nginx"):
        peers.tool(name)
    if "peers" in names:
        peers.tool("node")
        peers.install_litellm()
        peers.install_portkey()


def run_part(name: str, there: contenders.Stubs, *, run: str) -> None:
    """Run one part and keep its figures."""
    before = machine.load_average()
    began = time.monotonic()
    figures: dict[str, Any] = PARTS[name](there)
    figures |= {"load_before": before, "took_s": round(time.monotonic() - began)}
    report.keep(name, figures, run=run)
    sys.stdout.write(json.dumps({name: figures}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
