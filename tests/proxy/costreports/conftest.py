from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

import httpx
import pytest

from proxy.costreports import base
from proxy.costreports.base import Asked, Call, Reader, Told
from tests.fakes.upstream import FakeUpstream

DAY = date(2026, 11, 20)


@pytest.fixture
def provider() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PAUSE_S", 0.0)


Ask = Callable[..., Told]


@pytest.fixture
def ask(provider: FakeUpstream) -> Ask:
    """Ask the provider with a reader, about these calls."""

    def ask_(reader: Reader, calls: Mapping[str, Call] | None = None, **terms: Any) -> Told:
        asked = Asked(
            base_url=provider.base_url, key="admin-key", day=DAY, calls=calls or {}, **terms
        )

        async def run() -> Told:
            async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
                return await reader(client, asked)

        return asyncio.run(run())

    return ask_
