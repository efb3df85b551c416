"""One way to post JSON to a provider: headers are built from nothing, so none of a caller's go."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
import msgspec


def post(
    *,
    base_url: str,
    path: str,
    body: dict[str, Any],
    stream: bool,
    request_id: str,
    headers: Mapping[str, str],
) -> httpx.Request:
    """Build a request; ``headers`` are the provider's own, its API key among them."""
    return httpx.Request(
        "POST",
        endpoint(base_url, path),
        content=msgspec.json.encode(body),
        headers={
            **headers,
            "content-type": "application/json",
            "accept": "text/event-stream" if stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "tollgate",
            "x-request-id": request_id,
        },
    )


@cache
def endpoint(base_url: str, path: str) -> httpx.URL:
    """Return a provider's endpoint; parsing an address costs more than sending to it."""
    return httpx.URL(f"{base_url}/{path}")
