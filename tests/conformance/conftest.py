"""One stack for the session; the OpenAI SDK for Python as a customer sets it up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from tests.conformance.stack import Stack, standing
from tests.fakes.upstream import FakeUpstream

__all__ = ["running", "stack", "upstream"]


@dataclass
class Sdk:
    """Makes clients, and counts the requests that they really make."""

    stack: Stack
    statuses: list[int] = field(default_factory=list)
    sent: int = 0
    refused: threading.Event = field(default_factory=threading.Event)

    def client(self, key: str = "", **terms: object) -> openai.OpenAI:
        """Return a client with the SDK's own defaults."""
        hooks: dict[str, Any] = {"request": [self._count], "response": [self._note]}
        return openai.OpenAI(
            api_key=key or self.stack.key,
            base_url=self.stack.base_url,
            http_client=openai.DefaultHttpxClient(event_hooks=hooks),
            **terms,  # type: ignore[arg-type]
        )

    def _count(self, request: object) -> None:
        self.sent += 1

    def _note(self, response: Any) -> None:
        self.statuses.append(response.status_code)
        if response.status_code == 429:
            self.refused.set()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, FakeUpstream]]:
    with standing(tmp_path_factory.mktemp("conformance") / "var") as running:
        yield running


@pytest.fixture
def stack(running: tuple[Stack, FakeUpstream]) -> Stack:
    """What clients are told."""
    return running[0]


@pytest.fixture
def upstream(running: tuple[Stack, FakeUpstream]) -> FakeUpstream:
    """The provider behind the stack."""
    return running[1]


@pytest.fixture
def sdk(stack: Stack) -> Sdk:
    """The SDK with its defaults."""
    return Sdk(stack)


@pytest.fixture
def client(sdk: Sdk) -> Iterator[openai.OpenAI]:
    """One client with the SDK's defaults."""
    with sdk.client() as client:
        yield client
