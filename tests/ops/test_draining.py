"""A gateway that is told to stop in the middle of 200 streams."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import httpx
import pytest

from accounts.models import Tier
from billing import invariants
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream, Gate
from tests.ops.test_shutdown import asked, terminate, until_draining
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    provider,
    shop,
    upstream,
)

STREAMS = 200
GRACE_S = 60
IN_TIME_S = 60


class Streams(threading.Thread):
    """Many streams over sockets of their own, read by one thread."""

    def __init__(self, gateway: GatewayProcess, secret: str, count: int) -> None:
        super().__init__()
        told = asked(gateway.url, secret, stream=True)
        body = json.dumps(told["json"]).encode()
        head = [
            "POST /v1/chat/completions HTTP/1.1",
            f"host: 127.0.0.1:{gateway.port}",
            f"authorization: {told['headers']['authorization']}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        self.port = gateway.port
        self.request = "\r\n".join([*head, "", ""]).encode() + body
        self.texts = [b""] * count
        self.start()

    def run(self) -> None:
        """Read them all to their ends."""
        asyncio.run(self._read_all())

    async def _read_all(self) -> None:
        await asyncio.gather(*(self._read(number) for number in range(len(self.texts))))

    async def _read(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(self.request)
        try:
            while piece := await reader.read(65536):
                self.texts[number] += piece
        except ConnectionResetError:
            self.texts[number] += b"(reset)"
        writer.close()

    def hear(self, words: bytes) -> None:
        """Wait until each has got this far."""
        deadline = time.monotonic() + IN_TIME_S
        while (heard := sum(words in text for text in self.texts)) < len(self.texts):
            assert time.monotonic() < deadline, (heard, set(self.texts))
            time.sleep(0.02)

    @property
    def complete(self) -> int:
        """How many came to their proper end."""
        return sum(b"[DONE]" in text and text.endswith(b"0\r\n\r\n") for text in self.texts)


@pytest.mark.django_db(transaction=True)
def test_200_streams_end_and_new_calls_are_told_to_go_elsewhere(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
) -> None:
    shop.fund("1000")
    Tier.objects.update(default_rpm=10_000, max_rpm=10_000)
    opened = threading.Event()
    reply = list(fake.stream(("one", " two", " three")))
    first = next(place for place, step in enumerate(reply) if b"one" in bytes_of(step))
    upstream.script([*reply[: first + 1], Gate(opened), *reply[first + 1 :]])
    with GatewayProcess(SHUTDOWN_GRACE_S=str(GRACE_S)) as gateway:
        streams = Streams(gateway, shop.secret, STREAMS)
        streams.hear(b"one")
        assert shop.holds == STREAMS, "all are live"
        began = terminate(gateway)
        refused = first_refusal(gateway, shop.secret)
        ready = httpx.get(f"{gateway.url}/readyz", timeout=30, trust_env=False)
        alive = httpx.get(f"{gateway.url}/livez", timeout=30, trust_env=False)
        opened.set()
        streams.join(GRACE_S)
        assert gateway.ended(within_s=GRACE_S)
        assert time.monotonic() - began < GRACE_S, "nobody was cut off"
    assert refused.json()["error"]["reason"] == "draining"
    assert "retry-after" in refused.headers
    assert (ready.status_code, alive.status_code) == (503, 200)
    assert streams.complete == STREAMS
    assert shop.holds == 0
    assert len(shop.usage) == STREAMS
    assert {row.source for row in shop.usage} == {"provider"}
    assert len({row.cost for row in shop.usage}) == 1
    assert not [found for found in invariants.check().findings if found.violations]


def bytes_of(step: fake.Step) -> bytes:
    """The body in a step."""
    return step if isinstance(step, bytes) else b""


def first_refusal(gateway: GatewayProcess, secret: str) -> httpx.Response:
    """Call until it is refused: the signal may take a moment on a busy machine."""
    until_draining(gateway)
    answer = httpx.post(**asked(gateway.url, secret))
    assert answer.status_code == 503, answer.text
    return answer
