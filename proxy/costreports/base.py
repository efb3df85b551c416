"""What is asked of a provider about a day, and what it may answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

import httpx
from msgspec import Struct

TRIES: Final = 3
PAUSE_S: Final = 0.5
MOST_BYTES: Final = 32 * 1024 * 1024
NANOS_PER_USD: Final = 10**9
MOST_USD: Final = Decimal(10**9)


class Unavailable(Exception):
    """There is no report to be had; the message says why, without any secret."""


class Call(Struct, frozen=True, kw_only=True):
    """One call as we know it: its cost in nano-dollars, the provider's id if it told one.

    ``certain`` is one that was answered; another may never have arrived.
    """

    cost: int
    upstream_id: str = ""
    certain: bool = True


class Asked(Struct, frozen=True, kw_only=True):
    """A day to ask about, with our calls of that day by request id.

    ``before`` are the request ids of the day before: a call may arrive after midnight.
    ``price`` says what counted tokens of one of our calls cost us.
    """

    base_url: str
    key: str
    day: date
    calls: Mapping[str, Call]
    before: frozenset[str] = frozenset()
    price: Callable[[str, int, int, bool], int] = lambda _id, _prompt, _completion, _finished: 0


class Told(Struct, frozen=True, kw_only=True):
    """
    A provider's word on a day; what it does not tell is None.

    ``ours_nanos`` and ``ours_calls`` are given where it was asked about some calls only.
    """

    nanos: int
    calls: int | None = None
    missing_ours: int | None = None
    missing_theirs: int | None = None
    ours_nanos: int | None = None
    ours_calls: int | None = None


Reader = Callable[[httpx.AsyncClient, Asked], Awaitable[Told]]


async def get(
    client: httpx.AsyncClient, url: str, *, key: str, params: Mapping[str, str | int]
) -> dict[str, Any] | None:
    """
    Ask for a JSON object, a few times where that may help; None is a 404.

    :raises Unavailable: it was refused, was no JSON object or did not come
    """
    trouble = ""
    for attempt in range(TRIES):
        if attempt:
            await asyncio.sleep(PAUSE_S * attempt)
        try:
            response = await client.get(
                url, params=dict(params), headers={"authorization": f"Bearer {key}"}
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            trouble = type(error).__name__
            continue
        if response.status_code == 404:
            return None
        if response.status_code == 200:
            return _object(response)
        trouble = f"status {response.status_code}"
        if response.status_code not in (408, 409, 429) and response.status_code < 500:
            break
    raise Unavailable(f"The provider did not answer: {trouble}.")


def nanos(usd: object) -> int | None:
    """Return an amount as it was written in nano-dollars, rounded half to even; None if none."""
    if isinstance(usd, bool) or not isinstance(usd, int | Decimal | str):
        return None
    try:
        amount = Decimal(usd)
    except ArithmeticError:
        return None
    if not amount.is_finite() or abs(amount) > MOST_USD:
        return None
    return round(amount * NANOS_PER_USD)


def _object(response: httpx.Response) -> dict[str, Any]:
    if len(response.content) > MOST_BYTES:
        raise Unavailable("The provider's answer is too long.")
    try:
        # Decimal: no float comes near money.
        body = json.loads(response.content, parse_float=Decimal)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Unavailable("The provider's answer is not a JSON object.")
    return body
