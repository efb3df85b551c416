"""A gateway killed in the middle of streams: every call is charged on evidence, none is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from django.utils import timezone

from accounts.models import Tier
from billing import invariants
from billing.models import Hold
from billing.pricing import Rates
from common import ids
from proxy.models import Checkpoint, Provider, Route
from proxy.models import GatewayProcess as ProcessRow
from proxy.sweep import sweep
from tests.fakes.gateway import GatewayProcess
from tests.fakes.sandbox import TOKEN, SandboxServer
from tests.proxy.conftest import AddModel, Shop, add_model, provider, shop, upstream

__all__ = ["add_model", "provider", "shop", "upstream"]

STREAMS = 50
PATIENCE_S = 60
# Of this many the gateway has written down by then what they had told.
NOTED = 40


@pytest.fixture
def sandbox(tmp_path: Path, shop: Shop, add_model: AddModel) -> Iterator[SandboxServer]:
    Tier.objects.update(default_rpm=100_000, max_rpm=100_000)
    with SandboxServer(log_path=tmp_path / "calls.jsonl") as sandbox:
        row = Provider(
            slug="sandbox",
            kind="sandbox",
            base_url=f"{sandbox.url}/v1",
            on_disconnect="cancel",
            generation_lookup="sandbox",
        )
        row.set_api_key(TOKEN)
        row.save()
        add_model(
            "sandbox/lorem",
            rates=Rates(prompt=1_000_000, completion=2_000_000),
            providers=(row,),
        )
        Route.objects.filter(model__slug="sandbox/lorem").update(upstream_model="sandbox/lorem")
        yield sandbox


def streams_then_kill(gateway: GatewayProcess, key: str, *, when: Callable[[], bool]) -> None:
    """Open streams, wait until all are heard and something is so, kill the process under them."""
    heard: set[int] = set()

    async def one(client: httpx.AsyncClient, number: int) -> None:
        body = {
            "model": "sandbox/lorem",
            "messages": [{"role": "user", "content": "word " * (number + 1)}],
            "max_tokens": 900,
            "stream": True,
            "sandbox": {"chunk_delay_ms": 20},
        }
        try:
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                assert response.status_code == 200
                async for _ in response.aiter_bytes():
                    heard.add(number)
        except httpx.TransportError:
            return

    async def run() -> None:
        async with httpx.AsyncClient(
            base_url=gateway.url,
            headers={"authorization": f"Bearer {key}"},
            timeout=60,
            trust_env=False,
            limits=httpx.Limits(max_connections=STREAMS),
        ) as client:
            await asyncio.gather(*(one(client, number) for number in range(STREAMS)))

    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(asyncio.run, run())
        try:
            until(lambda: calls.done() or (len(heard) == STREAMS and when()))
        finally:
            gateway.kill()
        calls.result()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "the streams did not come so far"
        time.sleep(0.05)


def until_swept() -> int:
    """Sweep until no hold is open; return how many calls were unknown."""
    ProcessRow.objects.update(stopped_at=timezone.now())
    unknown = 0
    deadline = time.monotonic() + PATIENCE_S
    while True:
        report = sweep()
        unknown += report.unknown
        if not Hold.objects.exists():
            return unknown
        assert time.monotonic() < deadline, "holds are left"
        time.sleep(0.3)


def noted() -> int:
    """How many streams the gateway has written down that say anything."""
    return Checkpoint.objects.filter(bytes__gt=0).count()


class TestAKilledGateway:
    def test_leaves_calls_that_are_charged_exactly_from_the_lookup(
        self, shop: Shop, sandbox: SandboxServer
    ) -> None:
        gateway = GatewayProcess()
        gateway.start()
        streams_then_kill(gateway, shop.secret, when=lambda: True)
        assert shop.holds == STREAMS

        assert until_swept() == 0

        log = {line["request_id"]: line for line in sandbox.lines()}
        rows = {ids.form("req_", row.id): row for row in shop.usage}
        assert rows.keys() == log.keys()
        for name, row in rows.items():
            counted = (row.input_tokens, row.output_tokens)
            assert counted == (log[name]["prompt_tokens"], log[name]["completion_tokens"])
            assert row.charged == (counted[0] * 1 + counted[1] * 2) * 1000
        assert shop.balance.held == 0
        assert invariants.check().ok

    def test_without_a_lookup_charges_the_checkpoints(
        self, shop: Shop, sandbox: SandboxServer
    ) -> None:
        Provider.objects.filter(slug="sandbox").update(generation_lookup="none")
        gateway = GatewayProcess(CHECKPOINT_S="0.5")
        gateway.start()
        streams_then_kill(gateway, shop.secret, when=lambda: noted() >= NOTED)
        assert shop.holds == STREAMS

        unknown = until_swept()

        rows = shop.usage
        charged = [row for row in rows if row.source == "checkpoint"]
        assert len(rows) == STREAMS
        assert len(charged) + unknown == STREAMS
        assert len(charged) >= NOTED
        assert all(0 < row.charged <= row.hold for row in charged)
        assert all(row.unknown for row in rows if row.source == "none")
        assert invariants.check().ok
