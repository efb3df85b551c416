"""A web process that is told to stop: nothing new begins, nothing that began is lost."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from django.db import connection

from accounts.models import Tier
from billing import invariants
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

# 200 streams are `TOLLGATE_STREAMS=200 pytest tests/ops/test_shutdown.py`.
STREAMS = int(os.environ.get("TOLLGATE_STREAMS", "12"))


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
    """Return a stream that says something and then nothing for ever."""
    return [*fake.cut_at(fake.stream(("one", " two")), 400)[:-1], fake.Stall()]


def terminate(gateway: GatewayProcess) -> float:
    """Ask a process to stop; return when."""
    os.kill(gateway.pid, signal.SIGTERM)
    return time.monotonic()


def test_streams_under_way_end_and_new_calls_are_told_to_go_elsewhere(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
) -> None:
    shop.fund("100")
    Tier.objects.update(default_rpm=10_000, max_rpm=10_000)
    upstream.script(fake.stream(("one", " two", " three"), every_s=0.4))
    with GatewayProcess(SHUTDOWN_GRACE_S="20") as gateway:
        callers = begin(gateway, shop.secret, STREAMS)
        terminate(gateway)
        time.sleep(0.2)
        refused = httpx.post(**asked(gateway.url, shop.secret))
        ready = httpx.get(f"{gateway.url}/readyz", trust_env=False)
        alive = httpx.get(f"{gateway.url}/livez", trust_env=False)
        for caller in callers:
            caller.thread.join()
        assert gateway.ended(within_s=10)
    assert refused.status_code == 503
    assert refused.json()["error"]["reason"] == "draining"
    assert "retry-after" in refused.headers
    assert ready.status_code == 503
    assert alive.status_code == 200
    assert all(caller.complete for caller in callers)
    assert shop.holds == 0
    assert len(shop.usage) == STREAMS
    assert {row.source for row in shop.usage} == {"provider"}
    assert not [found for found in invariants.check().findings if found.violations]


def test_streams_that_outlast_the_grace_are_settled_on_what_was_delivered(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
) -> None:
    shop.provider_cancels()
    upstream.script(endless())
    with GatewayProcess("--timeout-graceful-shutdown=1", SHUTDOWN_GRACE_S="0.5") as gateway:
        callers = begin(gateway, shop.secret, 3)
        began = terminate(gateway)
        assert gateway.ended(within_s=10)
        assert time.monotonic() - began < 10
        for caller in callers:
            caller.thread.join()
    assert not any(caller.complete for caller in callers)
    # Booked by the process itself, or left with its count for the sweep: never forgotten.
    left = Checkpoint.objects.count()
    assert shop.holds == left
    assert len(shop.usage) + left == 3


def test_who_had_connected_is_answered_and_not_cut_off(shop: Shop) -> None:  # noqa: F811
    with GatewayProcess(SHUTDOWN_GRACE_S="30") as gateway, ExitStack() as sockets:
        address = ("127.0.0.1", gateway.port)
        early = [sockets.enter_context(socket.create_connection(address)) for _ in range(20)]
        terminate(gateway)
        with pytest.raises(ConnectionRefusedError):
            while True:
                socket.create_connection(address).close()
        for each in early:
            each.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answers = [each.recv(4096)[:12] for each in early]
        assert gateway.ended(within_s=10)
    assert set(answers) <= {b"HTTP/1.1 503", b"HTTP/1.1 200"}


def test_a_process_without_calls_ends_at_once_and_one_told_twice_does_not_wait(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
) -> None:
    with GatewayProcess(SHUTDOWN_GRACE_S="30") as idle:
        terminate(idle)
        assert idle.ended(within_s=8)
    upstream.script(endless())
    with GatewayProcess("--timeout-graceful-shutdown=1", SHUTDOWN_GRACE_S="30") as gateway:
        (caller,) = begin(gateway, shop.secret, 1)
        terminate(gateway)
        time.sleep(0.2)
        terminate(gateway)
        assert gateway.ended(within_s=10)
        caller.thread.join()


def test_a_new_version_takes_over_under_load_and_no_call_is_lost(
    shop: Shop,  # noqa: F811
    upstream: FakeUpstream,  # noqa: F811
) -> None:
    """Two processes, a balancer that tries the next one, a migration that only adds."""
    shop.fund("1000")
    Tier.objects.update(default_rpm=100_000, max_rpm=100_000)
    over = threading.Event()
    with GatewayProcess(SHUTDOWN_GRACE_S="10") as new, ThreadPoolExecutor(8) as pool:
        old = GatewayProcess(SHUTDOWN_GRACE_S="10")
        old.start()
        balanced = [old, new]

        def calls() -> list[int]:
            statuses = []
            while not over.is_set():
                statuses.append(balanced_call(balanced, shop.secret))
            return statuses

        running = [pool.submit(calls) for _ in range(4)]
        try:
            time.sleep(0.5)
            with connection.cursor() as cursor:
                cursor.execute("set lock_timeout = '2s'")
                cursor.execute("alter table billing_usage add column added_by_a_deploy text")
            terminate(old)
            assert old.ended(within_s=15)
            time.sleep(0.5)
        finally:
            over.set()
            with connection.cursor() as cursor:
                cursor.execute("alter table billing_usage drop column if exists added_by_a_deploy")
        statuses = [status for each in running for status in each.result()]
    assert len(statuses) > 4
    assert set(statuses) == {200}
    assert len(shop.usage) == len(statuses)
    assert shop.holds == 0
    assert not [found for found in invariants.check().findings if found.violations]


def balanced_call(gateways: list[GatewayProcess], secret: str) -> int:
    """Make a call as a balancer does: the next process where one is closed or draining."""
    for gateway in gateways:
        try:
            answer = httpx.post(**asked(gateway.url, secret))
        except httpx.ConnectError:
            continue
        if answer.status_code != 503 or answer.json()["error"]["reason"] != "draining":
            return answer.status_code
    return 0
