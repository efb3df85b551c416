"""
Requests per minute of each key: GCRA in Redis, many keys in one round trip.

The generic cell rate algorithm keeps one time per key, the theoretical arrival time (TAT);
the burst is the limit itself. Where Redis is away each process allows its share.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import redis.asyncio
import structlog
from msgspec import Struct
from redis.exceptions import NoScriptError, RedisError

from common.errors import NO_RETRY, ApiError
from common.redis import async_client
from proxy.batching import Lane

log = structlog.get_logger(__name__)

MINUTE_US = 60_000_000
REDIS_REST_S = 1.0
# KEYS[1]; ARGV: microseconds per request, burst, cost (1 takes, -1 gives back).
# Returns {allowed, remaining, microseconds until full, microseconds until one is free}.
GCRA = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tat = tonumber(redis.call('GET', KEYS[1]) or 0)
if tat < now then tat = now end
local next_tat = tat + interval * cost
if next_tat < now then next_tat = now end
local room = now + interval * burst - next_tat
local allowed = 1
if room < 0 then
  allowed = 0
  next_tat = tat
  room = now + interval * burst - tat
elseif next_tat > now then
  redis.call('SET', KEYS[1], string.format('%.0f', next_tat),
             'PX', math.ceil((next_tat - now) / 1000))
else
  redis.call('DEL', KEYS[1])
end
local wait = allowed == 1 and 0 or interval - room
return {allowed, math.floor(room / interval), next_tat - now, wait}
"""
GCRA_SHA = hashlib.sha1(GCRA.encode(), usedforsecurity=False).hexdigest()


class Taken(Struct, frozen=True):
    """One answer of the limiter; times in microseconds."""

    allowed: bool
    remaining: int
    reset_us: int
    wait_us: int


class Take(Struct, frozen=True):
    """One question to the limiter: a key's id, its limit, 1 to take or -1 to give back."""

    key_id: int
    rpm: int
    cost: int


class Limiter:
    """Counts requests per key; falls back to this process's share when Redis is away."""

    def __init__(self) -> None:
        self.redis: redis.asyncio.Redis = async_client()
        self.lane: Lane[Take, Taken] = Lane(self._run)
        self.local: dict[int, float] = {}
        self.processes = 1
        self.rest_until = 0.0

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        self.lane.start()

    async def close(self) -> None:
        """End and close the connection."""
        await self.lane.stop(timeout_s=1)
        await self.redis.aclose()

    async def take(self, *, key_id: int, rpm: int | None) -> dict[str, str]:
        """
        Take one request of a key's minute; return the x-ratelimit headers.

        :raises ApiError: 429 ``rate_limited``
        """
        if rpm is None:
            return {}
        if rpm == 0:
            raise ApiError(
                "rate_limited",
                "This key's rate limit is 0 requests per minute. Raise it in the dashboard.",
                headers={**limit_headers(rpm=0, remaining=0, reset_us=0), **NO_RETRY},
            )
        taken = await self.lane.put(Take(key_id, rpm, 1))
        headers = limit_headers(rpm=rpm, remaining=taken.remaining, reset_us=taken.reset_us)
        if not taken.allowed:
            seconds = max(1, -(-taken.wait_us // 1_000_000))
            raise ApiError(
                "rate_limited",
                f"Rate limit exceeded. Please retry after {seconds} second"
                f"{'' if seconds == 1 else 's'}.",
                headers={**headers, "retry-after": str(seconds)},
            )
        return headers

    def give_back(self, *, key_id: int, rpm: int | None) -> None:
        """Return a slot that a refusal for money did not use."""
        if rpm:
            self.lane.put(Take(key_id, rpm, -1))

    async def _run(self, takes: list[Take]) -> list[Taken]:
        if time.monotonic() >= self.rest_until:
            try:
                return await self._ask_redis(takes)
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("Redis is away; limits are per process", error=type(error).__name__)
                self.rest_until = time.monotonic() + REDIS_REST_S
        return [self._ask_locally(take) for take in takes]

    async def _ask_redis(self, takes: list[Take]) -> list[Taken]:
        try:
            answers = await self._pipeline(takes)
        except NoScriptError:
            await self.redis.script_load(GCRA)
            answers = await self._pipeline(takes)
        return [Taken(bool(a[0]), int(a[1]), int(a[2]), int(a[3])) for a in answers]

    async def _pipeline(self, takes: list[Take]) -> list[Any]:
        pipeline = self.redis.pipeline(transaction=False)
        for take in takes:
            key = f"rpm:{take.key_id}"
            pipeline.evalsha(GCRA_SHA, 1, key, MINUTE_US // take.rpm, take.rpm, take.cost)
        return await pipeline.execute()

    def _ask_locally(self, take: Take) -> Taken:
        now = time.monotonic() * 1_000_000
        burst = max(1, take.rpm // max(1, self.processes))
        interval = MINUTE_US / burst
        tat = max(self.local.get(take.key_id, 0.0), now)
        next_tat = max(now, tat + interval * take.cost)
        room = now + interval * burst - next_tat
        if room < 0:
            room = now + interval * burst - tat
            return Taken(False, 0, int(tat - now), int(interval - room))
        self.local[take.key_id] = next_tat
        if len(self.local) > 100_000:
            self.local = {key: tat for key, tat in self.local.items() if tat > now}
        return Taken(True, int(room / interval), int(next_tat - now), 0)


def limit_headers(*, rpm: int, remaining: int, reset_us: int) -> dict[str, str]:
    """Return OpenAI's three headers; the reset in its form (``1s``, ``6m0s``)."""
    return {
        "x-ratelimit-limit-requests": str(rpm),
        "x-ratelimit-remaining-requests": str(max(0, remaining)),
        "x-ratelimit-reset-requests": duration(reset_us),
    }


def duration(microseconds: int) -> str:
    """Write a duration as OpenAI does: ``12ms``, ``1s``, ``6m0s``."""
    if microseconds < 1_000_000:
        return f"{-(-microseconds // 1000)}ms"
    seconds = -(-microseconds // 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
