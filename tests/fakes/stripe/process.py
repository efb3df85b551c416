"""The fake in a process of its own, and its remote control."""

from __future__ import annotations

import subprocess
import sys
import time
from types import TracebackType
from typing import Any

import httpx

from tests.fakes.ports import free_port
from tests.fakes.stripe.form import Body
from tests.servers import ROOT

SECRET = "whsec_fake_secret_of_the_tests"
KEY = "sk_test_fake"
GOOD, DECLINED, ASKS = "4242424242424242", "4000000000000341", "4000002760003184"


class FakeStripe:
    """``with FakeStripe() as fake: fake.url``."""

    def __init__(self, *, webhook_url: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._hook = [webhook_url, SECRET] if webhook_url else []
        self._client = httpx.Client(base_url=self.url, timeout=30)

    def __enter__(self) -> FakeStripe:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.stripe", str(self.port), *self._hook], cwd=ROOT
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.do("state")
            except httpx.TransportError:
                assert self._process.poll() is None, "the fake did not start"
                assert time.monotonic() < deadline, "the fake did not start in time"
                time.sleep(0.02)
            else:
                return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(30)

    def do(self, what: str, **facts: Any) -> Any:
        """Have something happen."""
        answer = self._client.post("/_fake", json={"do": what} | facts)
        answer.raise_for_status()
        return answer.json()

    def all(self, kind: str) -> list[Body]:
        """Every object of a kind, the oldest first."""
        objects = self.do("state")["objects"].values()
        return [each for each in objects if each["object"] == kind]

    def events(self, *kinds: str) -> list[Body]:
        """The events so far, those of some kinds only where any are named."""
        return [each for each in self.all("event") if not kinds or each["type"] in kinds]
