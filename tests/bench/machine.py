"""What the kernel tells of processes and of this machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return a process and all that it started."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process and of those it started that still run."""
    ticks = 0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def memory_mb(pid: int) -> float:
    """Return the memory of a process and of those it started; what they share counts once."""
    kilobytes = 0
    for one in tree(pid):
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        kilobytes += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])  # type: ignore[index]
    return round(kilobytes / 1024, 1)


def described() -> str:
    """Return processor, cores, memory and system in a line."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    total = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    gigabytes = round(int(total[1]) / 1024**2) if total else 0
    return (
        f"{os.cpu_count()} cores of {model[1] if model else 'an unknown processor'}, "
        f"{gigabytes} GB of memory, Linux {platform.release().partition('-')[0]}"
    )


def load_average() -> float:
    """Return how many processes wanted to run in the last minute."""
    return round(os.getloadavg()[0], 2)


def first_line(*command: str) -> str:
    """Return the first line that a program says of itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def commit() -> str:
    """Return the commit that is checked out, marked where files differ from it."""
    name = first_line("git", "rev-parse", "--short", "HEAD")
    changed = first_line("git", "status", "--porcelain", "--untracked-files=no")
    return name if changed == "unknown" else f"{name} with changes"
