"""
Providers that cost almost nothing: whole answers by nginx, streams by asyncio.

As a program it is the stream stub: it answers a POST with 100 chunks, each written a
millisecond or more after the one before. The model ``stub-idle`` gets one chunk, then
silence.
"""

from __future__ import annotations

import asyncio
import json
import sys

CHUNKS = 100
GAP_S = 0.001
USAGE = {"prompt_tokens": 12, "completion_tokens": 100, "total_tokens": 112}
BODY = json.dumps(
    {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": 1,
        "model": "stub",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "All is well."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16},
    }
)
NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{body}'; }}
  }}
}}
"""
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)


def nginx_config(*, folder: str, port: int) -> str:
    """Return nginx's configuration: one canned answer to everything."""
    return NGINX.format(folder=folder, port=port, body=BODY)


def framed(data: bytes) -> bytes:
    """Return a chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(*, delta: dict[str, str], finish: str | None = None) -> bytes:
    """Return one event of a stream, as it goes over the wire."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return framed(b"data: " + json.dumps(_chunk(choices=[choice])).encode() + b"\n\n")


def _chunk(**fields: object) -> dict[str, object]:
    head = {"id": "chatcmpl-stub", "object": "chat.completion.chunk", "created": 1, "model": "stub"}
    return head | fields


# The head goes with the first event; the end is one piece.
STREAM = [
    HEAD + event(delta={"role": "assistant", "content": ""}),
    *(event(delta={"content": f" word{n}"}) for n in range(CHUNKS - 2)),
    event(delta={}, finish="stop"),
]
END = (
    framed(b"data: " + json.dumps(_chunk(choices=[], usage=USAGE)).encode() + b"\n\n")
    + framed(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)


class Stub(asyncio.Protocol):
    """Answers every request whose body has arrived with a stream."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.buffer = b""
        self.loop = asyncio.get_running_loop()
        self.timer: asyncio.TimerHandle | None = None

    def connection_lost(self, error: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        idle = b"stub-idle" in self.buffer
        self.buffer = b""
        if idle:
            self.transport.write(HEAD + event(delta={"role": "assistant", "content": "Well"}))
        else:
            self.tell(0)

    def tell(self, n: int) -> None:
        """Write the n-th piece, and the next one a millisecond or more later."""
        if n == len(STREAM):
            self.transport.write(END)
            return
        self.transport.write(STREAM[n])
        self.timer = self.loop.call_later(GAP_S, self.tell, n + 1)


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1])))
