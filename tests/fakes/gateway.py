"""The real server, gateway and Django, over a real socket: in a thread, or a process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from types import TracebackType

import httpx
import uvicorn
from django.conf import settings

from config.asgi import Application
from config.protocol import HttpProtocol
from tests.fakes.ports import free_port


class HastyProtocol(HttpProtocol):
    """One that ends with its server: these tests have no call on its way by then."""

    last_word_s = 0


class GatewayServer:
    """``with GatewayServer() as gateway: gateway.url``."""

    def __init__(self) -> None:
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
            timeout_graceful_shutdown=3,
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
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False)

    def __enter__(self) -> GatewayServer:
        self._thread.start()
        deadline = time.monotonic() + 15
        while not self._server.started:
            assert self._thread.is_alive(), "the gateway refused to start"
            assert time.monotonic() < deadline, "the gateway did not start"
            time.sleep(0.005)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive(), "the gateway did not stop"


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
        deadline = time.monotonic() + 20
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
            self._process.wait(15)
