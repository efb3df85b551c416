"""
How often one address may try something within an hour, as all processes count together.

Where Redis does not answer nobody is kept out: what is guarded here has its own locks besides.
"""

from __future__ import annotations

import time
from typing import Final

import redis
import structlog
from django.core.cache import cache

from common import origin

log = structlog.get_logger(__name__)

WINDOW_S: Final = 3600


def note(what: str) -> int:
    """Count one try of the present request's address; return how many there were, with it."""
    name = _name(what)
    if not name:
        return 0
    try:
        cache.add(name, 0, WINDOW_S)
        return int(cache.incr(name))
    except (redis.RedisError, OSError) as error:
        log.warning("Tries are not counted", what=what, error=type(error).__name__)
    except ValueError:
        pass  # Forgotten between the two: the hour is over.
    return 1


def made(what: str) -> int:
    """Return how many tries the present request's address has made within the hour."""
    name = _name(what)
    try:
        return int(cache.get(name, 0)) if name else 0
    except (redis.RedisError, OSError):
        return 0


def _name(what: str) -> str:
    # Outside a request (a command, a task) there is no address, and nothing to count.
    address = origin.current().address
    return f"tries:{what}:{address}:{int(time.time() // WINDOW_S)}" if address else ""
