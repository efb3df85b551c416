"""What is measured: programs on loopback that forward to the stubs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from embedded import processes
from tests.bench import peers, stub
from tests.fakes.ports import free_port

READY_WITHIN_S = 120.0
ENDS_WITHIN_S = 30.0
MODEL = "bench/model"
STREAM_MODEL = "bench/stream"


@dataclass(frozen=True, slots=True)
class Contender:
    """A running program, and how it wants to be asked: a set of headers per key."""

    name: str
    pid: int
    port: int
    keys: tuple[Mapping[str, str], ...]
    # Portkey's gateway is told in each request where to call.
    stream_headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stubs:
    """The ports of both stub providers, and nginx as something to be measured."""

    nginx: Contender
    upstream_port: int
    stream_port: int


# Programs of others learn nothing of our database and our secrets.
BARE = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


@contextmanager
def running(command: list[str], *, port: int, environment: Mapping[str, str]) -> Iterator[int]:
    """
    Run a program until it is no longer needed; give its process id once it listens.

    :raises TimeoutError: it does not listen
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=peers.ROOT,
        )
        try:
            _wait_for(port, process)
            yield process.pid
        except TimeoutError:
            log.seek(0)
            sys.stderr.write(log.read()[-3000:].decode(errors="replace"))
            raise
        finally:
            process.terminate()
            try:
                process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{process.args!r} does not listen on {port}")


@contextmanager
def stubs() -> Iterator[Stubs]:
    """Run both stub providers."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        upstream, stream = free_port(), free_port()
        config = Path(folder) / "nginx.conf"
        config.write_text(stub.nginx_config(folder=folder, port=upstream))
        command = [peers.tool("nginx"), "-c", str(config), "-p", folder]
        pid = stack.enter_context(running(command, port=upstream, environment=BARE))
        script = [sys.executable, "-m", "tests.bench.stub", str(stream)]
        stack.enter_context(running(script, port=stream, environment=os.environ))
        headers = {"authorization": "Bearer stub"}
        yield Stubs(Contender("the stub", pid, upstream, (headers,), headers), upstream, stream)


@contextmanager
def tollgate(
    *, keys: list[str], environment: Mapping[str, str], workers: int = 1
) -> Iterator[Contender]:
    """Run this gateway as `make run` does."""
    port = free_port()
    program = processes.web(environment={}, host="127.0.0.1", port=port)
    command = [*program.command, *([f"--workers={workers}"] if workers > 1 else [])]
    with running(command, port=port, environment={**os.environ, **environment}) as pid:
        headers = tuple({"authorization": f"Bearer {key}"} for key in keys)
        yield Contender("Tollgate", pid, port, headers, headers[0])


@contextmanager
def litellm(there: Stubs) -> Iterator[Contender]:
    """Run LiteLLM's proxy: one worker, master key only, no database."""
    port = free_port()
    command = peers.litellm_command(
        port=port, upstream_port=there.upstream_port, stream_port=there.stream_port
    )
    environment = BARE | peers.LITELLM_ENVIRONMENT
    with running(command, port=port, environment=environment) as pid:
        headers = {"authorization": f"Bearer {peers.MASTER_KEY}"}
        yield Contender("LiteLLM", pid, port, (headers,), headers)


@contextmanager
def portkey(there: Stubs) -> Iterator[Contender]:
    """Run Portkey's gateway."""
    port = free_port()
    environment = BARE | {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
    with running(peers.portkey_command(port=port), port=port, environment=environment) as pid:
        yield Contender(
            "Portkey",
            pid,
            port,
            (peers.portkey_headers(there.upstream_port),),
            peers.portkey_headers(there.stream_port),
        )
