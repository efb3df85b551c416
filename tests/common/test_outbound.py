from __future__ import annotations

import socket
import threading
from collections.abc import Iterable

import httpcore
import pytest

from common import outbound
from common.outbound import Bounds, NoAddress, Unsent

BOUNDS = Bounds(connect_s=5, deadline_s=5, most_bytes=100)
NAME = "somewhere.example.com"


def anywhere(found: Iterable[str]) -> list[str]:
    return list(found)


def get(port: int, found: list[str]) -> outbound.Answer:
    """Ask a name that leads to some addresses."""
    return outbound.exchange(
        method="GET",
        url=httpcore.URL(f"http://{NAME}:{port}/"),
        headers=[],
        body=b"",
        judge=anywhere,
        bounds=BOUNDS,
        resolve=lambda _host, _port: found,
    )


class TestLookUp:
    def test_it_finds_every_address_once(self) -> None:
        assert outbound.look_up("127.0.0.1", 80) == ["127.0.0.1"]


class TestExchange:
    def test_a_second_address_is_tried_where_the_first_refuses(self) -> None:
        with socket.create_server(("127.0.0.2", 0)) as server:
            port = server.getsockname()[1]

            def serve() -> None:
                client, _ = server.accept()
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                client.close()

            threading.Thread(target=serve, daemon=True).start()
            answer = get(port, ["127.0.0.1", "127.0.0.2"])
        assert (answer.status, answer.body) == (200, b"ok")

    def test_where_nothing_was_sent_it_says_so(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        with pytest.raises(Unsent, match="refused"):
            get(port, ["127.0.0.1"])
        with pytest.raises(Unsent):
            get(port, [])

    def test_a_name_that_leads_nowhere_is_told_as_such(self) -> None:
        def unknown(_host: str, _port: int) -> list[str]:
            raise socket.gaierror

        with pytest.raises(NoAddress):
            outbound.GuardedNetwork(anywhere, unknown, BOUNDS).connect_tcp(NAME, 80)
