"""A load generator: N connections, each sends its next request when it has its answer."""

from __future__ import annotations

import asyncio
import json
import sys
import time


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, until: float, done: asyncio.Future[None]) -> None:
        self.request = request
        self.until = until
        self.done = done
        self.latencies_ms: list[float] = []
        self.refused = 0
        self.unlimited = 0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) < end + 4 + length:
            return
        now = time.perf_counter()
        status = head[9:12].decode()
        if status == "200":
            self.latencies_ms.append((now - self.sent) * 1000)
        else:
            self.refused += 1
        self.unlimited += b"x-ratelimit-limit-requests" not in head
        self.buffer = b""
        if now < self.until:
            self._send()
        else:
            self.transport.close()
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionResetError())


async def main(port: int, key: str, connections: int, seconds: float, request: str) -> None:
    """Run the load and print one JSON line."""
    body = request.encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    until = began + seconds
    clients = [
        Client(head.encode() + body, until, loop.create_future()) for _ in range(connections)
    ]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(client.done for client in clients))
    elapsed = time.perf_counter() - began
    latencies = sorted(ms for client in clients for ms in client.latencies_ms)
    report = {
        "answers": len(latencies),
        "refused": sum(client.refused for client in clients),
        "without_limit_headers": sum(client.unlimited for client in clients),
        "per_second": round(len(latencies) / elapsed, 1),
        "p50_ms": round(latencies[len(latencies) // 2], 2) if latencies else None,
        "p99_ms": round(latencies[len(latencies) * 99 // 100], 2) if latencies else None,
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    import uvloop

    uvloop.run(
        main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
    )
