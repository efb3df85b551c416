"""Loads put on a contender, and what they cost it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import machine, peers
from tests.bench.contenders import MODEL, STREAM_MODEL, Contender

SCRIPT = Path(__file__).with_name("wrk.lua")
QUESTION = [{"role": "user", "content": "Is everything all right up there?"}]
WHOLE = json.dumps({"model": MODEL, "messages": QUESTION, "max_tokens": 50})
STREAMED = json.dumps(
    {
        "model": STREAM_MODEL,
        "messages": QUESTION,
        "max_tokens": 200,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
)
IDLE = STREAMED.replace(STREAM_MODEL, "bench/idle")
# For what is under way when the load ends; LiteLLM takes a second for 32 calls.
TAIL_S = 2


class Failed(Exception):
    """A load got answers that are none."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one contender; CPU in milliseconds per answer."""

    name: str
    connections: int
    answers: int
    without_limits: int
    per_second: float
    cpu_ms: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0


def whole(contender: Contender, *, connections: int, seconds: float) -> Run:
    """
    Ask for whole answers; each connection asks again when it has its answer.

    :raises Failed: not all answers were answers
    """
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        for key in contender.keys:
            keys.write("|".join(f"{name}: {text}" for name, text in key.items()) + "\n")
        keys.flush()
        command = [peers.tool("wrk"), "-t1", f"-c{connections}", f"-d{int(seconds + TAIL_S)}s"]
        command += ["--timeout=30s", "-s", str(SCRIPT)]
        command += [f"http://127.0.0.1:{contender.port}/v1/chat/completions", "--"]
        command += [str(seconds), str(connections), keys.name, WHOLE]
        return _measured(contender, command, connections)


def streams(contender: Contender, *, connections: int, seconds: float) -> Run:
    """
    Ask for streams of 100 chunks.

    :raises Failed: not all streams were whole
    """
    command = _order(contender, body=STREAMED, connections=connections, seconds=seconds)
    return _measured(contender, command, connections)


def _order(contender: Contender, *, body: str, connections: int, seconds: float) -> list[str]:
    order = {
        "port": contender.port,
        "headers": dict(contender.stream_headers),
        "body": body,
        "connections": connections,
        "seconds": seconds,
        "idle": body is IDLE,
    }
    return [sys.executable, "-m", "tests.bench.streams", json.dumps(order)]


def _measured(contender: Contender, command: list[str], connections: int) -> Run:
    before = machine.cpu_seconds(contender.pid)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, cwd=peers.ROOT)
    spent = machine.cpu_seconds(contender.pid) - before
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if told["refused"] or not told["answers"]:
        raise Failed(f"{contender.name}: {told}")
    return Run(
        name=contender.name,
        connections=connections,
        answers=told["answers"],
        without_limits=told["without_limit_headers"],
        per_second=told["per_second"],
        cpu_ms=round(spent / told["answers"] * 1000, 4),
        p50_ms=told.get("p50_ms", 0.0),
        p99_ms=told.get("p99_ms", 0.0),
    )


@contextmanager
def idle_streams(contender: Contender, *, connections: int) -> Iterator[int]:
    """Keep streams open that say nothing; give how many have begun."""
    command = _order(contender, body=IDLE, connections=connections, seconds=0)
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=peers.ROOT
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        yield json.loads(line)["open"]
    finally:
        process.communicate()
        time.sleep(0.5)
