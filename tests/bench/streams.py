"""
A load of streams: N connections, each asks for its next stream when it has had one.

With ``idle`` it opens N streams, says so, and keeps them open until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from tests.bench.stub import CHUNKS


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, until: float) -> None:
        self.request = request
        self.until = until
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.streams = 0
        self.faults: list[str] = []
        self.unlimited = 0
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.buffer.endswith(b"0\r\n\r\n"):
            self._finish(bytes(self.buffer))

    def _finish(self, told: bytes) -> None:
        head, _, body = told.partition(b"\r\n\r\n")
        whole = body.count(b"chat.completion.chunk") >= CHUNKS and b"data: [DONE]" in body
        if head.startswith(b"HTTP/1.1 200") and whole:
            self.streams += 1
        else:
            self.faults.append(told[:300].decode(errors="replace"))
        self.unlimited += b"x-ratelimit-limit-requests" not in head.lower()
        self.buffer.clear()
        if time.perf_counter() < self.until:
            self.transport.write(self.request)
        else:
            self.transport.close()
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.faults.append("the connection was closed: " + self.buffer[:300].decode())
            self.done.set_result(None)


class Idler(Client):
    """One connection whose stream has begun and goes on."""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if b"Well" in self.buffer and not self.done.done():
            self.done.set_result(None)


async def busy(port: int, request: bytes, connections: int, seconds: float) -> dict[str, Any]:
    """Stream for so long; the last streams are read to their ends."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    clients = [Client(request, began + seconds) for _ in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*(client.done for client in clients))
    faults = [fault for client in clients for fault in client.faults]
    streams = sum(client.streams for client in clients)
    return {
        "answers": streams,
        "refused": len(faults),
        "fault": faults[0] if faults else "",
        "without_limit_headers": sum(client.unlimited for client in clients),
        "per_second": round(streams / (time.perf_counter() - began), 2),
    }


async def idle(port: int, request: bytes, connections: int) -> None:
    """Open streams, say when all have begun, hang up when told."""
    loop = asyncio.get_running_loop()
    clients: list[Idler] = []
    for _ in range(connections):
        client = Idler(request, 0.0)
        clients.append(client)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.sleep(0.002)
    await asyncio.gather(*(client.done for client in clients))
    say({"open": sum(not client.faults for client in clients)})
    await asyncio.to_thread(sys.stdin.read)
    say({"open": sum(not client.faults for client in clients)})
    for client in clients:
        client.transport.close()


def say(report: dict[str, Any]) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def written(headers: dict[str, str], body: str) -> bytes:
    """Return the request as bytes."""
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: 127.0.0.1"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    lines += ["content-type: application/json", f"content-length: {len(body.encode())}", "", body]
    return "\r\n".join(lines).encode()


async def main(order: dict[str, Any]) -> None:
    """Do what the order says."""
    request = written(order["headers"], order["body"])
    if order["idle"]:
        return await idle(order["port"], request, order["connections"])
    say(await busy(order["port"], request, order["connections"], order["seconds"]))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(json.loads(sys.argv[1])))
