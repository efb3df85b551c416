"""The sandbox provider over a real socket, in a thread of the test process."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

from proxy.sandbox.provider import build

TOKEN = "sandbox-token-for-tests"
IN_TIME_S = 30


class SandboxServer:
    """``with SandboxServer(log_path=...) as sandbox: sandbox.url``."""

    def __init__(self, *, log_path: Path, lookup: bool = True) -> None:
        self.log_path = log_path
        config = uvicorn.Config(
            build(token=TOKEN, log_path=log_path, lookup=lookup),
            host="127.0.0.1",
            port=0,
            ws="none",
            log_config=None,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    @property
    def url(self) -> str:
        """Its origin."""
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __enter__(self) -> SandboxServer:
        self._thread.start()
        deadline = time.monotonic() + IN_TIME_S
        while not self._server.started:
            assert time.monotonic() < deadline, "the sandbox did not start"
            time.sleep(0.005)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(IN_TIME_S)

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of its log."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def ends(self, *, count: int = 1) -> list[dict[str, Any]]:
        """Return the log's lines once ``count`` calls have both of theirs."""
        deadline = time.monotonic() + IN_TIME_S
        while len(lines := self.lines()) < 2 * count:
            assert time.monotonic() < deadline, f"only {len(lines)} lines in the log"
            time.sleep(0.005)
        return lines
