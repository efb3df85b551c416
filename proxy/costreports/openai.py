"""
OpenAI's costs of an organisation, which need an admin key.

https://platform.openai.com/docs/api-reference/usage/costs: buckets of a day, in pages; an
amount is {"value": 0.06, "currency": "usd"}. It tells money only, no calls.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

import httpx

from proxy.costreports.base import Asked, Told, Unavailable, get, nanos

MOST_PAGES: Final = 100
PAGE: Final = 180


async def read(client: httpx.AsyncClient, asked: Asked) -> Told:
    """
    Sum an organisation's costs of one day.

    :raises Unavailable: there is no answer, or one that cannot be read
    """
    start = datetime.combine(asked.day, time(), UTC)
    params: dict[str, str | int] = {
        "start_time": int(start.timestamp()),
        "end_time": int((start + timedelta(days=1)).timestamp()),
        "bucket_width": "1d",
        "limit": PAGE,
    }
    total = 0
    for _ in range(MOST_PAGES):
        page = await get(
            client, f"{asked.base_url}/organization/costs", key=asked.key, params=params
        )
        if page is None:
            raise Unavailable("The provider has no organization/costs.")
        total += _sum(page, first=int(params["start_time"]), end=int(params["end_time"]))
        cursor = page.get("next_page")
        if not page.get("has_more"):
            return Told(nanos=total)
        if not isinstance(cursor, str) or cursor == params.get("page"):
            raise Unavailable("The report names no next page.")
        params["page"] = cursor
    raise Unavailable(f"The report has more than {MOST_PAGES} pages.")


def _sum(page: dict[str, Any], *, first: int, end: int) -> int:
    try:
        buckets = [each for each in page["data"] if first <= each["start_time"] < end]
        return sum(_amount(result) for bucket in buckets for result in bucket["results"])
    except (KeyError, TypeError):
        raise Unavailable("The report cannot be read: it is not a page of cost buckets.") from None


def _amount(result: dict[str, Any]) -> int:
    currency = str(result["amount"]["currency"]).lower()
    if currency != "usd":
        raise Unavailable(f"The report is in {currency[:8]}, not in US dollars.")
    amount = nanos(result["amount"]["value"])
    if amount is None:
        raise Unavailable("The report has an amount that is no number.")
    return amount
