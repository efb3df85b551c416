"""The real server, gateway and Django, over a real socket in a thread of the test process."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import httpx
import uvicorn

from config.asgi import Application


class GatewayServer:
    """``with GatewayServer() as gateway: gateway.url``."""

    def __init__(self) -> None:
        self.application = Application()
        config = uvicorn.Config(
            self.application,
            host="127.0.0.1",
            port=0,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
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
