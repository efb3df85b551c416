"""Redis clients: one place for URL and timeouts. Redis never holds money."""

from __future__ import annotations

from functools import cache

import redis
import redis.asyncio
from django.conf import settings

TIMEOUT_S = 0.25


@cache
def client() -> redis.Redis:
    """Return the process's blocking client."""
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=TIMEOUT_S * 4, socket_connect_timeout=TIMEOUT_S * 4
    )


def async_client() -> redis.asyncio.Redis:
    """Return a new asynchronous client; the caller closes it with ``aclose``."""
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
    )
