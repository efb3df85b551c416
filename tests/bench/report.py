"""docs/benchmarks.md, written from the figures of the last run of each part."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.bench import bounds, machine, peers

KEPT = peers.FOLDER / "figures.json"
PAGE = peers.ROOT / "docs" / "benchmarks.md"
OURS = "Tollgate"
TIMES = "\N{MULTIPLICATION SIGN}"
HEAD = """# Benchmarks

Written by `make bench`; run it again rather than trust it. It starts a stub provider (nginx for
whole answers, a small asyncio program for streams), LiteLLM's proxy (master key only, no
database), Portkey's gateway (it keeps no books) and this gateway, one process each, and gives all
three the same work in turns, so that a busy moment of the machine falls on each of them. This
gateway does all that it does for a paying customer: key, scope, rate limit, daily and monthly
caps of workspace and key, hold, settlement, transfers, usage and attempt rows, all committed with
`fsync` and `synchronous_commit` on, on an embedded PostgreSQL and Redis on the same machine.

A run fails unless usage rows = answers, what was charged and what the balance lost = the sum of
the prices, no hold is left, `verify_ledger` is clean, caps and RPM were set, commits were durable
and every answer carried its `x-ratelimit-…` headers.

Everything shares one machine: compare ratios of one run, never numbers of two machines.
"""
STREAMS = """Added latency: at one connection, over calling the stub directly. Streams: 32 at once,
chunks a millisecond or more apart. Tollgate passes on together what comes faster than
`STREAM_PACE_S` (10 ms); with 0 it passes on each chunk as it comes, as the others do, and each
costs two system calls more.
"""
LIMITS = """
## What limits each figure

- Requests/s at 32 connections: the gateway's own Python on one core; the database, Redis, the stub
  and the load share the other. In a sampled profile nearly half of a request's CPU was HTTP to
  both sides, a seventh the batches to PostgreSQL and Redis, the rest checks, prices and JSON.
- Latency at one connection: nothing is shared with other requests. Measured apart on this kind of
  machine: 1.5 ms of the gateway's CPU, half a millisecond each for the two SQL functions alone in
  their batch (PostgreSQL makes a function's expressions ready anew in every transaction), 0.1 ms
  for each of two syncs of the disk, and the wake-ups between processes. Redis is asked while
  PostgreSQL works.
- CPU per stream: the fixed cost of a request in small batches, then system calls: a look at
  the provider's socket and a write to the caller's for each pace, not for each chunk.
- Idle streams: memory of tasks, sockets and buffers; connections to PostgreSQL are two lanes, two
  slow lanes, control and checkpoints, however many streams there are.
"""


def keep(name: str, figures: dict[str, Any], *, run: str) -> None:
    """Keep the figures of one part of a run."""
    peers.FOLDER.mkdir(exist_ok=True)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    stamped = figures | {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "on": environment()}
    stamped |= {"run": run, "commit": machine.commit()}
    KEPT.write_text(json.dumps(kept | {name: stamped}, indent=1))


def environment() -> dict[str, str]:
    """Return the machine and the versions of what ran."""
    return {
        "machine": machine.described(),
        "Python": machine.first_line("python3", "-c", "import sys; print(sys.version.split()[0])"),
        "node": machine.first_line("node", "--version"),
        "nginx": machine.first_line(peers.tool("nginx"), "-v").rpartition("/")[2],
        **peers.versions(),
    }


def write() -> None:
    """Write the page."""
    kept = json.loads(KEPT.read_text())
    sections = [write_part(kept[name]) for name, write_part in SECTIONS.items() if name in kept]
    PAGE.write_text("\n".join((HEAD, write_bounds(kept), *sections)) + LIMITS)


def write_bounds(kept: dict[str, Any]) -> str:
    """Say whether all parts are of one run, and what was required of it."""
    parts = [kept[name] for name in SECTIONS if name in kept]
    runs = {(each.get("run"), each.get("commit")) for each in parts}
    if len(parts) == len(SECTIONS) and len(runs) == 1 and all(*runs):
        origin = f"All parts are of one run, on commit {parts[0].get('commit')}."
    else:
        origin = "The parts are of several runs; each tells its time and its commit."
    head = ["required", "bound", "measured", "reached"]
    return f"{origin}\n\n{table(head, bounds.rows(kept))}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def noted(figures: dict[str, Any]) -> str:
    """Say when and where a part was measured, and how busy the machine was before."""
    on = figures["on"]
    versions = ", ".join(f"{name} {text}" for name, text in on.items() if name != "machine")
    return (
        f"\n{figures['at']}, commit {figures.get('commit', 'unknown')}, {on['machine']}; "
        f"{versions}; load average before the run "
        f"{figures['load_before']}; the part took {figures['took_s']} s.\n"
    )


def times(ours: float, theirs: float) -> str:
    """Return how many times as much one is as the other."""
    ratio = ours / theirs if theirs else 0.0
    return f"{ratio:.1f} {TIMES}" if ratio < 10 else f"{ratio:.0f} {TIMES}"


def write_peers(figures: dict[str, Any]) -> str:
    """Write the comparison."""
    names = [OURS, "LiteLLM", "Portkey"]
    ours = figures[OURS]
    busy = [
        [
            name,
            f"{each['busy']['per_second']:,.0f}",
            f"{each['busy']['cpu_ms']:.2f} ms",
            f"{each['streams']['cpu_ms']:.1f} ms",
            f"{each['added_p50_ms']:.2f} ms",
            f"{each['added_p99_ms']:.1f} ms",
            f"{each['memory_mb']:.0f} MB",
        ]
        for name, each in ((name, figures[name]) for name in names)
    ]
    ratios = [
        [
            name,
            times(ours["busy"]["per_second"], each["busy"]["per_second"]),
            times(each["busy"]["cpu_ms"], ours["busy"]["cpu_ms"]),
            times(each["streams"]["cpu_ms"], ours["streams"]["cpu_ms"]),
        ]
        for name, each in ((name, figures[name]) for name in names[1:])
    ]
    return "\n".join(
        (
            "## Beside others, one process each",
            "",
            table(
                [
                    *("", "requests/s at 32 connections", "CPU per request"),
                    *("CPU per stream of 100 chunks", "added p50", "added p99", "memory"),
                ],
                busy,
            ),
            STREAMS,
            table(["Tollgate against", "requests/s", "CPU per request", "CPU per stream"], ratios),
        )
    ) + noted(figures)


def write_two(figures: dict[str, Any]) -> str:
    """Write what two processes do."""
    rows = [[n, f"{figures[n]['per_second']:,.0f}", f"{figures[n]['cpu_ms']:.2f} ms"] for n in "12"]
    return (
        "## One process and two, alone\n\n"
        + table(["processes", "requests/s at 32 connections", "CPU per request"], rows)
        + "\n1,000 keys in turn.\n"
        + noted(figures)
    )


def write_large(figures: dict[str, Any]) -> str:
    """Write what a large database costs."""
    rows = [
        [
            name,
            f"{each['busy']['per_second']:,.0f}",
            f"{each['busy']['cpu_ms']:.2f} ms",
            f"{each['alone']['p50_ms']:.2f} ms",
            f"{each['alone']['p99_ms']:.1f} ms",
        ]
        for name, each in (("empty", figures["empty"]), ("large", figures["large"]))
    ]
    ratio = figures["large"]["busy"]["per_second"] / figures["empty"]["busy"]["per_second"]
    pages = [
        [each["page"], each["whose"], f"{each['queries_ms']} ms", f"{each['p50_ms']} ms"]
        for each in figures["pages"]
    ]
    return (
        f"## On {figures['customers']:,} workspaces and keys and {figures['calls']:,} settled calls"
        "\n\n"
        + table(["database", "requests/s at 32 connections", "CPU per request", "p50", "p99"], rows)
        + f"\nThe large one has {ratio:.2f} of the requests/s of the empty one; 1,000 keys.\n"
        f"It has {figures['gigabytes']} GB and was made in {figures['seeded_s']} s; the hourly\n"
        f"invariants take {figures['verify_s']} s.\n\n"
        + table(["page", "of", "its queries", "the whole page"], pages)
        + noted(figures)
    )


def write_idle(figures: dict[str, Any]) -> str:
    """Write what silent streams cost."""
    return (
        f"## {figures['streams']:,} idle streams on one process\n\n"
        f"{figures['memory_mb']:.0f} MB ({figures['memory_before_mb']:.0f} MB before),"
        f" {figures['cpu_percent']} % of a core, {figures['connections']} connections to PostgreSQL"
        f" ({figures['connections_before']} before).\n" + noted(figures)
    )


def write_lists(figures: dict[str, Any]) -> str:
    """Write what the lists of the management API take."""
    rows = [
        [each["kind"], f"`{each['path']}`", f"{each['p50_ms']} ms", f"{each['p95_ms']} ms"]
        for each in figures["rows"]
    ]
    return (
        f"## Lists of a workspace with {figures['keys']:,} keys and {figures['calls']:,} calls\n\n"
        "Whole requests through Django, one after the other, pages as Server-Timing tells it;\n"
        "calls are spread evenly over keys, 5 models and 60 days. The run fails where the p95 of\n"
        f"a list is over {figures['limit_ms']} ms, or of a page over {figures['page_limit_ms']} ms."
        "\n\n" + table(["", "address", "p50", "p95"], rows) + noted(figures)
    )


SECTIONS = {
    "peers": write_peers,
    "two": write_two,
    "large": write_large,
    "idle": write_idle,
    "lists": write_lists,
}
