"""Callers of all manners: patient, impatient, repeating themselves. What they were told is kept."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp
import httpx

from tests.chaos.market import Customer, Market

AT_ONCE = 32
CALL_TIMEOUT_S = 20.0
# What came of a call that may be made again under its Idempotency-Key.
AGAIN = (409, 500, 502, 503)
MOST_TRIES = 4


@dataclass(slots=True)
class Told:
    """What a caller was told about one request."""

    id: str
    customer: str
    status: int
    reason: str = ""
    nanos: int | None = None
    whole: bool = False
    repeated: str = ""
    replayed: bool = False


@dataclass(slots=True)
class Plan:
    """One call, drawn from the seed."""

    customer: Customer
    model: str
    stream: bool
    wish: dict[str, Any]
    patience_s: float | None = None
    repeats: bool = False
    generation: bool = False

    @property
    def body(self) -> dict[str, Any]:
        """The request's JSON."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": json.dumps(self.wish)}],
            "max_tokens": 300,
        }
        if self.generation:
            return body | {"async": True}
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body


@dataclass(slots=True)
class Book:
    """All that callers were told."""

    told: list[Told] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def acknowledged(self) -> int:
        """How many calls were answered whole, with their price."""
        return self.outcomes["whole"]


def draw(rng: random.Random, market: Market) -> Plan:
    """Draw one call."""
    customer = rng.choice(market.all)
    dice = rng.random()
    stream = dice < 0.3
    tokens = rng.randint(1, 12)
    pause_ms = rng.choice((0, 0, 1, 2, 5, 10))
    if dice < 0.02:
        tokens, pause_ms = rng.randint(60, 120), 25
    wish: dict[str, Any] = {"tokens": tokens, "pause_ms": pause_ms, "pad": "x" * rng.randint(0, 60)}
    model = rng.choice(("looked", "looked", "plain", "both"))
    if model == "both" and rng.random() < 0.3:
        wish["fail"] = "looked"
    plan = Plan(customer, f"chaos/{model}", stream, wish)
    if rng.random() < 0.08:
        plan.patience_s = rng.uniform(0.001, 0.12)
    elif not stream and rng.random() < 0.08:
        plan.repeats = True
    elif not stream and rng.random() < 0.03:
        plan.generation, plan.model = True, "chaos/looked"
    return plan


class Callers:
    """Makes calls at all gateways until it is told to stop."""

    def __init__(self, *, seed: str, market: Market, urls: Sequence[str], book: Book) -> None:
        self.seed = seed
        self.market = market
        self.urls = urls
        self.book = book
        self.stopping = False
        self.count = 0

    async def run(self) -> None:
        """Call until stopped."""
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            await asyncio.gather(*(self._call_on(session) for _ in range(AT_ONCE)))

    async def _call_on(self, session: aiohttp.ClientSession) -> None:
        while not self.stopping:
            self.count += 1
            rng = random.Random(f"{self.seed}/{self.count}")
            plan = draw(rng, self.market)
            repeated = f"{self.seed}/{self.count}" if plan.repeats else ""
            for _ in range(MOST_TRIES if plan.repeats else 1):
                told = await self._one(session, plan, rng.choice(self.urls), repeated)
                if told.status != 200:
                    await asyncio.sleep(0.05)
                if not plan.repeats or (told.status and told.status not in AGAIN):
                    break

    async def _one(
        self, session: aiohttp.ClientSession, plan: Plan, url: str, repeated: str
    ) -> Told:
        told = Told("", plan.customer.name, 0, repeated=repeated)
        try:
            async with asyncio.timeout(plan.patience_s):
                await self._ask(session, plan, url, told)
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass
        if told.id:
            self.book.told.append(told)
        outcome = (
            "whole"
            if told.whole and not plan.generation
            else told.reason or (str(told.status) if told.status else "no_answer")
        )
        self.book.outcomes[outcome] += 1
        return told

    async def _ask(self, session: aiohttp.ClientSession, plan: Plan, url: str, told: Told) -> None:
        headers = {"authorization": f"Bearer {plan.customer.key}"}
        if told.repeated:
            headers["idempotency-key"] = told.repeated
        path = "/api/v2/generate" if plan.generation else "/v1/chat/completions"
        async with session.post(url + path, json=plan.body, headers=headers) as response:
            told.id = response.headers.get("x-request-id", "")
            told.status = response.status
            told.replayed = "idempotent-replayed" in response.headers
            if response.status == 200 and plan.stream:
                await read_stream(response, told)
            elif response.status == 200:
                await response.read()
                told.nanos, told.whole = nanos(response.headers.get("x-tollgate-cost")), True
            else:
                told.reason = (await response.json())["error"]["reason"]


def call_once(plan: Plan, *, url: str, book: Book) -> None:
    """Make one call that is answered whole, and write down what was told."""
    told = Told("", plan.customer.name, 0)
    response = httpx.post(
        f"{url}/v1/chat/completions",
        json=plan.body,
        headers={"authorization": f"Bearer {plan.customer.key}"},
        timeout=CALL_TIMEOUT_S,
        trust_env=False,
    )
    told.id, told.status = response.headers["x-request-id"], response.status_code
    if told.status == 200 and plan.stream:
        note_stream(response.text, told)
    elif told.status == 200:
        told.nanos, told.whole = nanos(response.headers.get("x-tollgate-cost")), True
    book.told.append(told)


async def read_stream(response: aiohttp.ClientResponse, told: Told) -> None:
    """Read a stream to its end."""
    note_stream((await response.read()).decode(), told)


def note_stream(text: str, told: Told) -> None:
    """Write down what a stream told; it is whole where [DONE] came after its price."""
    cost = re.search(r'"cost":\s*"?([0-9.eE-]+)', text)
    if cost:
        told.nanos = nanos(cost[1])
    told.whole = cost is not None and text.rstrip().endswith("data: [DONE]")


def nanos(usd: str | None) -> int | None:
    """Return a price in nano-dollars."""
    return int(Decimal(usd) * 10**9) if usd else None
