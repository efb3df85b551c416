"""A server of a customer's that takes webhooks, and does not, as it is told."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """An endpoint of a customer's."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.hold: threading.Event | None = None
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                named = {name.lower(): text for name, text in self.headers.items()}
                receiver.requests.append((named, body))
                if receiver.hold is not None:
                    receiver.hold.wait(30)
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler

    @property
    def kinds(self) -> list[str]:
        """What was told so far, in the order of its arrival."""
        return [json.loads(body)["type"] for _, body in self.requests]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/hook"

    def stop(self) -> None:
        """Be there no more."""
        self.server.shutdown()
        self.server.server_close()
