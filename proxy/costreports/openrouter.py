"""
OpenRouter's cost of each generation, asked one by one.

https://openrouter.ai/docs/api-reference/get-a-generation: `total_cost` is in US dollars. Of
a day with many calls an even sample is asked about, and compared with the same calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx

from proxy.costreports.base import Asked, Call, Told, Unavailable, get, nanos

MOST_ASKED: Final = 1000
AT_ONCE: Final = 10


async def read(client: httpx.AsyncClient, asked: Asked) -> Told:
    """
    Sum the costs of our calls, or of a sample of them.

    :raises Unavailable: an answer is missing or cannot be read
    """
    calls = sample([call for call in asked.calls.values() if call.upstream_id])
    gate = asyncio.Semaphore(AT_ONCE)

    async def cost(call: Call) -> int | None:
        async with gate:
            return await _cost(client, asked, call.upstream_id)

    try:
        # The first that fails ends them all: the rest would fail alike.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(cost(call)) for call in calls]
    except ExceptionGroup as failed:
        raise Unavailable(str(failed.exceptions[0])) from None
    known = [found for task in tasks if (found := task.result()) is not None]
    return Told(
        nanos=sum(known),
        calls=len(known),
        missing_theirs=len(calls) - len(known),
        ours_nanos=sum(call.cost for call in calls),
        ours_calls=len(calls),
    )


async def _cost(client: httpx.AsyncClient, asked: Asked, upstream_id: str) -> int | None:
    answer = await get(
        client, f"{asked.base_url}/generation", key=asked.key, params={"id": upstream_id}
    )
    if answer is None:
        return None
    generation = answer.get("data")
    cost = nanos(generation.get("total_cost")) if isinstance(generation, dict) else None
    if cost is None or cost < 0:
        raise Unavailable("A generation has no total_cost.")
    return cost


def sample(calls: Sequence[Call]) -> Sequence[Call]:
    """Return all calls, or as many as may be asked about, evenly over the day."""
    if len(calls) <= MOST_ASKED:
        return calls
    return [calls[index * len(calls) // MOST_ASKED] for index in range(MOST_ASKED)]
