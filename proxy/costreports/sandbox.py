"""
The sandbox's own log of a day, call by call: its counts at our cost prices.

``GET /costs?day=`` answers in pages: {"data": [{"request_id", "tokens_prompt",
"tokens_completion", "finished"}], "next": cursor or null}.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Annotated, Final

import httpx
import msgspec
from msgspec import Meta, Struct

from common import ids
from proxy.costreports.base import Asked, Told, Unavailable, get

MOST_PAGES: Final = 10_000
Count = Annotated[int, Meta(ge=0, le=2**31)]


class Line(Struct, frozen=True):
    """One call as the sandbox knows it."""

    request_id: str
    tokens_prompt: Count
    tokens_completion: Count
    finished: bool


class Page(Struct, frozen=True):
    """Some of a day's calls."""

    data: list[Line]
    next: str | None = None


async def read(client: httpx.AsyncClient, asked: Asked) -> Told:
    """
    Compare a day's calls one by one.

    :raises Unavailable: there is no answer, or one that cannot be read
    """
    lines = {_name(line): line async for line in _lines(client, asked, asked.day)}
    strange = [name for name in lines if name not in asked.calls and name not in asked.before]
    # A call of ours may have arrived there after midnight.
    async for line in _lines(client, asked, asked.day + timedelta(days=1)):
        if _name(line) in asked.calls:
            lines.setdefault(_name(line), line)
    certain = [name for name, call in asked.calls.items() if call.certain]
    found = [(name, lines[name]) for name in asked.calls if name in lines]
    costs = [
        asked.price(name, line.tokens_prompt, line.tokens_completion, line.finished)
        for name, line in found
    ]
    return Told(
        nanos=sum(costs),
        calls=len(found) + len(strange),
        missing_ours=len(strange),
        missing_theirs=sum(name not in lines for name in certain),
    )


def _name(line: Line) -> str:
    """Return our id in its first form, in whichever it was sent."""
    value = ids.parse_request(line.request_id)
    return ids.form("req_", value) if value else line.request_id


async def _lines(client: httpx.AsyncClient, asked: Asked, day: date) -> AsyncIterator[Line]:
    params: dict[str, str | int] = {"day": day.isoformat()}
    for _ in range(MOST_PAGES):
        answer = await get(client, f"{asked.base_url}/costs", key=asked.key, params=params)
        if answer is None:
            raise Unavailable("The provider has no costs.")
        try:
            page = msgspec.convert(answer, Page)
        except msgspec.ValidationError as error:
            raise Unavailable(f"The report cannot be read: {error}") from None
        for line in page.data:
            yield line
        if page.next is None:
            return
        params["after"] = page.next
    raise Unavailable(f"The report has more than {MOST_PAGES} pages.")
