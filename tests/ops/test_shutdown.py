"""A web process that is told to stop: nothing new begins, nothing that began is lost."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from pytest_django import Settings

from billing import invariants
from config.protocol import HttpProtocol
from proxy.models import Checkpoint
from tests.fakes import upstream as fake
from tests.fakes.gateway import GatewayProcess
from tests.fakes.upstream import FakeUpstream
from tests.proxy.conftest import (  # noqa: F401 - fixtures
    Shop,
    add_model,
    provider,
    shop,
    upstream,
)

pytestmark = pytest.mark.django_db(transaction=True)


# Less than any grace of these tests.
SOON_S = 20
MOST_TRIES = 5


class Caller:
    """One stream over a socket of its own."""

    def __init__(self, gateway: GatewayProcess, secret: str) -> None:
        self.text = ""
        self.broken = False
        self.began = threading.Event()
        self.thread = threading.Thread(target=self._read, args=(gateway.url, secret))
        self.thread.start()

    def _read(self, url: str, secret: str) -> None:
        try:
            with httpx.stream("POST", **asked(url, secret, stream=True)) as answer:
                for line in answer.iter_lines():
                    self.text += line
                    self.began.set()
        except httpx.TransportError:
            self.broken = True
        self.began.set()

    @property
    def complete(self) -> bool:
        """Whether the stream came to its proper end."""
        return "[DONE]" in self.text and not self.broken


def asked(url: str, secret: str, **fields: object) -> dict[str, Any]:
    """Return one call for httpx."""
    body = {"model": "test/tokens", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return {
        "url": f"{url}/v1/chat/completions",
        "headers": {"authorization": f"Bearer {secret}"},
        "json": body,
        "timeout": 30,
        "trust_env": False,
    }


def begin(gateway: GatewayProcess, secret: str, count: int) -> list[Caller]:
    """Begin streams and wait until each has heard something."""
    callers = [Caller(gateway, secret) for _ in range(count)]
    for caller in callers:
        assert caller.began.wait(30)
    return callers


def endless() -> fake.Reply:
    """Return a stream that says a word and then nothing for ever."""
    steps = fake.stream(("one", " two"))
    first = next(n for n, step in enumerate(steps) if isinstance(step, bytes) and b"one" in step)
    return [*steps[: first + 1], fake.Stall()]


def until_closed(address: tuple[str, int]) -> None:
    """Wait until nobody can connect any more."""
    while True:
        # One that was waiting to be accepted is reset.
        with suppress(ConnectionResetError):
            try:
                socket.create_connection(address).close()
            except ConnectionRefusedError:
                return


def terminate(gateway: GatewayProcess) -> float:
    """Ask a process to stop; return when."""
    os.kill(gateway.pid, signal.SIGTERM)
    return time.monotonic()


def test_streams_that_outlast_the_grace_are_settled_on_what_was_delivered(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
    settings: Settings,
) -> None:
    shop.provider_cancels()
    upstream.script(endless())
    with GatewayProcess("--timeout-graceful-shutdown=1", SHUTDOWN_GRACE_S="0.5") as gateway:
        callers = begin(gateway, shop.secret, 3)
        deadline = time.monotonic() + 30
        while not all("one" in caller.text for caller in callers):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        terminate(gateway)
        assert gateway.ended(within_s=SOON_S)
        for caller in callers:
            caller.thread.join()
    assert not any(caller.complete for caller in callers)
    # Booked by the process itself, or left with its count for the sweep: never forgotten.
    left = Checkpoint.objects.count()
    assert shop.holds == left
    assert len(shop.usage) + left == 3
    settings.SILENT_AFTER_S = settings.HEARTBEAT_S = 0
    call_command("sweep", verbosity=0)
    assert shop.holds == 0
    assert {row.state for row in shop.usage} == {"settled"}
    assert all(row.output_tokens > 0 for row in shop.usage), "what was delivered is counted"
    assert not [found for found in invariants.check().findings if found.violations]


def test_who_had_connected_is_answered_and_not_cut_off(shop: Shop) -> None:  # noqa: F811
    for _ in range(MOST_TRIES):
        answers, took_s = ask_while_it_stops()
        if took_s < HttpProtocol.last_word_s / 2:
            break  # The machine was not so slow that their time was over.
    assert answers <= {b"HTTP/1.1 503", b"HTTP/1.1 200"}


def ask_while_it_stops() -> tuple[set[bytes], float]:
    """Connect, let the server stop, then ask; return the answers and how long that took."""
    with GatewayProcess(SHUTDOWN_GRACE_S="30") as gateway, ExitStack() as sockets:
        address = ("127.0.0.1", gateway.port)
        early = [sockets.enter_context(socket.create_connection(address)) for _ in range(20)]
        began = terminate(gateway)
        until_closed(address)
        for each in early:
            with suppress(OSError):
                each.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        took_s = time.monotonic() - began
        answers = {heard(each) for each in early}
        assert gateway.ended(within_s=SOON_S)
    return answers, took_s


def heard(connection: socket.socket) -> bytes:
    """The beginning of an answer."""
    try:
        return connection.recv(4096)[:12]
    except ConnectionResetError:
        return b"(reset)"


def test_a_process_without_calls_ends_at_once_and_one_told_twice_does_not_wait(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
) -> None:
    with GatewayProcess(SHUTDOWN_GRACE_S="30") as idle:
        terminate(idle)
        assert idle.ended(within_s=SOON_S)
    upstream.script(endless())
    with GatewayProcess("--timeout-graceful-shutdown=1", SHUTDOWN_GRACE_S="30") as gateway:
        (caller,) = begin(gateway, shop.secret, 1)
        terminate(gateway)
        until_draining(gateway)
        terminate(gateway)
        assert gateway.ended(within_s=SOON_S)
        caller.thread.join()


def until_draining(gateway: GatewayProcess) -> None:
    """Wait until a process has heard that it is to stop."""
    deadline = time.monotonic() + 60
    url = f"{gateway.url}/readyz"
    while httpx.get(url, timeout=30, trust_env=False).status_code != 503:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def balanced_call(gateways: list[GatewayProcess], secret: str) -> int:
    """
    Make a call as a balancer does: the next process where one is closed or draining.

    Who waits to be accepted when an address is closed is reset: nobody has read his call.
    """
    for gateway in gateways:
        try:
            answer = httpx.post(**asked(gateway.url, secret))
        except httpx.NetworkError:
            continue
        if answer.status_code != 503 or answer.json()["error"]["reason"] != "draining":
            return answer.status_code
    return 0
