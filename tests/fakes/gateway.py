"""The real server, gateway and Django, over a real socket: in a thread, or a process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import httpx
import uvicorn
from django.conf import settings

from config.asgi import Application
from config.protocol import HttpProtocol
from proxy import catalogue
from proxy.hangup import WATCH_AFTER_S
from tests.fakes.ports import free_port

IN_TIME_S = 30
# A process imports everything first.
STARTED_WITHIN_S = 90


class HastyProtocol(HttpProtocol):
    """One that ends with its server: these tests have no call on its way by then."""

    last_word_s = 0


class GatewayServer:
    """``with GatewayServer() as gateway: gateway.url``; calls have ``grace_s`` to end with it."""

    def __init__(self, *, grace_s: float = 3) -> None:
        self.application = Application()
        config = uvicorn.Config(
            self.application,
            host="127.0.0.1",
            port=0,
            loop="uvloop",
            http=HastyProtocol,
            ws="none",
            lifespan="on",
            proxy_headers=False,
            log_config=None,
            timeout_graceful_shutdown=grace_s,  # type: ignore[arg-type]  # it takes parts too
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    @property
    def url(self) -> str:
        """Its origin."""
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    @property
    def process_id(self) -> int:
        """Its row in the table of gateway processes."""
        return self.application.gateway.runtime.process_id

    def client(self, key: str = "") -> httpx.Client:
        """Return a client for its address that sends a key."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=IN_TIME_S, trust_env=False)

    @contextmanager
    def leaving(self, key: str, body: dict[str, object]) -> Iterator[None]:
        """Make a call, and hang up at the end of the block whatever was answered by then."""
        sent = json.dumps(body).encode()
        head = [
            "POST /v1/chat/completions HTTP/1.1",
            "host: 127.0.0.1",
            f"authorization: Bearer {key}",
            "content-type: application/json",
            f"content-length: {len(sent)}",
        ]
        address = self._server.servers[0].sockets[0].getsockname()
        with socket.create_connection(address, timeout=IN_TIME_S) as caller:
            caller.sendall("\r\n".join([*head, "", ""]).encode() + sent)
            yield

    def catch_up(self) -> None:
        """Wait until it sells what the database says now."""
        runtime = self.application.gateway.runtime
        wanted = catalogue.version()
        _until(lambda: runtime.catalogue.version >= wanted, what="look at the catalogue")

    def notice(self) -> None:
        """Wait until it has read what was on its way to it when this was called."""
        # What comes first is read first, and a question takes more than one turn of its loop.
        for _ in range(2):
            assert httpx.get(f"{self.url}/livez", trust_env=False, timeout=IN_TIME_S).is_success

    def wait_for_connections(self, count: int) -> None:
        """Wait until so many callers are connected; who has left was noticed then."""
        state = self._server.server_state
        _until(lambda: len(state.connections) == count, what=f"have {count} connections")

    def notice_hang_up(self) -> None:
        """Wait until it has noticed that its only caller has left a call that goes on."""
        self.wait_for_connections(0)
        # It looks for that only in calls that last.
        time.sleep(WATCH_AFTER_S * 2)
        self.notice()

    def __enter__(self) -> GatewayServer:
        self._thread.start()
        _until(lambda: self._server.started or not self._thread.is_alive(), what="start")
        assert self._server.started, "the gateway refused to start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(IN_TIME_S)
        assert not self._thread.is_alive(), "the gateway did not stop"


def _until(true: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + IN_TIME_S
    while not true():
        assert time.monotonic() < deadline, f"the gateway did not {what}"
        time.sleep(0.005)


class GatewayProcess:
    """The real server in a process of its own, as `make run` starts it."""

    def __init__(self, *flags: str, **environment: str) -> None:
        self.port = free_port()
        self._flags = flags
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        database = settings.DATABASES["default"]
        account = f"{database['USER']}:{database['PASSWORD']}"
        url = f"postgres://{account}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-m", "uvicorn", "config.asgi:application"),
                *("--port", str(self.port), "--loop", "uvloop"),
                *("--http", "config.protocol:HttpProtocol"),
                *("--log-level", "warning", "--no-access-log", "--no-proxy-headers"),
                "--timeout-keep-alive=75",
                *self._flags,
            ],
            cwd=settings.BASE_DIR,
            env={
                **os.environ,
                "DATABASE_URL": url,
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "PYTHONPATH": str(settings.BASE_DIR / "platform"),
                "LOG_LEVEL": "WARNING",
                **self._environment,
            },
        )
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not self._answers():
            assert self._process.poll() is None, "the gateway refused to start"
            assert time.monotonic() < deadline, "the gateway did not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/livez", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def ended(self, *, within_s: float) -> bool:
        """Wait for its end; tell whether it came in time."""
        assert self._process is not None
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> GatewayProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(IN_TIME_S)
