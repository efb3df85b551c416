"""
Requests per minute, tokens per minute and slots of one owner, asked in one round trip.

An owner is a key or a provider. Rates are counted by the generic cell rate algorithm: one
time per owner, the theoretical arrival time (TAT), and a burst as large as the limit. Slots
are leases: who dies stops renewing them. Many owners' questions share a pipeline. Where
Redis is away each process allows its share.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import redis.asyncio
import structlog
from msgspec import Struct
from redis.exceptions import NoScriptError, RedisError

from common.redis import async_client
from proxy.batching import Lane

log = structlog.get_logger(__name__)

MINUTE_US = 60_000_000
REDIS_REST_S = 1.0
# A lease is renewed well before it ends; a killed process frees its slots within a minute.
LEASE_US = 45_000_000
RENEW_EVERY_S = 15.0
MOST_REMEMBERED = 100_000
OK, NO_REQUESTS, NO_TOKENS, NO_SLOTS = range(4)
# KEYS: the owner's TAT of requests, its TAT of tokens, its leases by end.
# ARGV: 1 to check; microseconds per request (0: no limit), burst, requests taken (-1: given
# back); microseconds per token (0: no limit), tokens taken (below 0: given back), of which one
# at least has to be there; slots (-1: no limit), the lease's name, its microseconds (0: none is
# meant, -1: given back). A microsecond is the error of what is compared.
# Returns the verdict; for requests and then for tokens: left, microseconds until full,
# microseconds until one is free.
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local check = ARGV[1] == '1'
local interval, burst, cost = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local per_token, used = tonumber(ARGV[5]), tonumber(ARGV[6])
local slots, lease, lease_us = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
local verdict = 0
local left, reset, wait = 0, 0, 0
local t_left, t_reset, t_wait = 0, 0, 0

local function save(key, tat)
  if tat > now then
    redis.call('SET', key, string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000))
  else
    redis.call('DEL', key)
  end
end

local tat, t_tat, t_before = now, now, now
if interval > 0 then
  local before = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
  tat = math.max(before + interval * cost, now)
  if check and now + interval * burst - tat < 0 then
    verdict, tat = 1, before
    wait = interval - (now + interval * burst - before)
  end
end
if per_token > 0 then
  t_before = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), now)
  local need, space = per_token * math.max(used, 1), now + 60000000 - t_before
  if check and verdict == 0 and space + 1 < need then
    verdict = 2
    t_wait = need - space
  end
  t_tat = math.max(t_before + per_token * used, now)
end
if slots >= 0 and lease_us > 0 and check then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  if verdict == 0 and redis.call('ZCARD', KEYS[3]) >= slots then verdict = 3 end
end
if verdict > 1 and interval > 0 then tat = math.max(tat - interval * cost, now) end
if verdict > 0 then t_tat = t_before end
if verdict == 0 then
  if cost ~= 0 and interval > 0 then save(KEYS[1], tat) end
  if used ~= 0 and per_token > 0 then save(KEYS[2], t_tat) end
  if lease_us > 0 then
    redis.call('ZADD', KEYS[3], now + lease_us, lease)
    redis.call('PEXPIRE', KEYS[3], math.ceil(lease_us / 1000))
  elseif lease_us < 0 then
    redis.call('ZREM', KEYS[3], lease)
  end
end
if interval > 0 then
  left, reset = math.floor((now + interval * burst - tat) / interval), tat - now
end
if per_token > 0 then
  t_left, t_reset = math.floor((now + 60000000 - t_tat) / per_token), t_tat - now
end
return {verdict, left, math.ceil(reset), math.ceil(wait), t_left, math.ceil(t_reset),
        math.ceil(t_wait)}
"""
SCRIPT_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class Quota(Struct, frozen=True):
    """What an owner may use; None is no limit."""

    owner: str
    rpm: int | None = None
    tpm: int | None = None
    slots: int | None = None


class Demand(Struct, frozen=True, kw_only=True):
    """
    One question or note.

    With ``check`` all of it is granted or nothing; without, it is written down.
    ``lease_us`` 0 means no lease, -1 gives ``lease`` back.
    """

    quota: Quota
    check: bool = True
    requests: int = 0
    tokens: int = 0
    lease: str = ""
    lease_us: int = 0


class Level(Struct, frozen=True):
    """An answer: the verdict and how full both buckets are; times in microseconds."""

    verdict: int
    left: int = 0
    reset_us: int = 0
    wait_us: int = 0
    tokens_left: int = 0
    tokens_reset_us: int = 0
    tokens_wait_us: int = 0


class Quotas:
    """Answers demands by Redis, and by this process's share where Redis is away."""

    def __init__(self) -> None:
        self.redis: redis.asyncio.Redis = async_client()
        self.lane: Lane[Demand, Level] = Lane(self._run, abandoned=self._return)
        self.share = Share()
        self.rest_until = 0.0

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        self.lane.start()

    async def close(self) -> None:
        """End and close the connection."""
        await self.lane.stop(timeout_s=1)
        await self.redis.aclose()

    async def ask(self, demand: Demand) -> Level:
        """Return what a demand was answered."""
        return await self.lane.put(demand)

    def note(self, demand: Demand) -> None:
        """Write something down without waiting."""
        # At once, or a lease could be renewed after it was given back.
        if demand.lease_us < 0:
            self.share.keep(demand, granted=True)
        self.lane.put(demand)

    def renew(self) -> None:
        """Renew all leases of this process; also tells Redis those it was away for."""
        for owner, leases in self.share.leases.items():
            for lease in leases:
                demand = Demand(quota=Quota(owner), check=False, lease=lease, lease_us=LEASE_US)
                self.note(demand)

    def _return(self, demand: Demand, level: Level) -> None:
        """Give back what was granted to somebody who does not wait for it any more."""
        if demand.check and level.verdict == OK:
            self.note(
                Demand(
                    quota=demand.quota,
                    check=False,
                    requests=-demand.requests,
                    tokens=-demand.tokens,
                    lease=demand.lease,
                    lease_us=-1 if demand.lease_us else 0,
                )
            )

    async def _run(self, demands: list[Demand]) -> list[Level]:
        levels = await self._levels(demands)
        for demand, level in zip(demands, levels, strict=True):
            self.share.keep(demand, granted=level.verdict == OK)
        return levels

    async def _levels(self, demands: list[Demand]) -> list[Level]:
        if time.monotonic() >= self.rest_until:
            try:
                return await self._ask_redis(demands)
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("Redis is away; limits are per process", error=type(error).__name__)
                self.rest_until = time.monotonic() + REDIS_REST_S
        levels: list[Level] = []
        for demand in demands:
            level = self.share.ask(demand)
            # What is kept counts for the next demand of the same batch.
            self.share.keep(demand, granted=level.verdict == OK)
            levels.append(level)
        return levels

    async def _ask_redis(self, demands: list[Demand]) -> list[Level]:
        try:
            answers = await self._pipeline(demands)
        except NoScriptError:
            await self.redis.script_load(SCRIPT)
            answers = await self._pipeline(demands)
        return [Level(*(int(number) for number in answer)) for answer in answers]

    async def _pipeline(self, demands: list[Demand]) -> list[Any]:
        pipeline = self.redis.pipeline(transaction=False)
        for demand in demands:
            pipeline.evalsha(SCRIPT_SHA, 3, *arguments(demand))
        return await pipeline.execute()


def arguments(demand: Demand) -> tuple[str | int | float, ...]:
    """Return a demand as the script's keys and arguments."""
    quota = demand.quota
    return (
        f"rpm:{quota.owner}",
        f"tpm:{quota.owner}",
        f"slots:{quota.owner}",
        int(demand.check),
        MINUTE_US // quota.rpm if quota.rpm else 0,
        quota.rpm or 0,
        demand.requests,
        MINUTE_US / quota.tpm if quota.tpm else 0,
        demand.tokens,
        -1 if quota.slots is None else quota.slots,
        demand.lease,
        demand.lease_us,
    )


# Far below a microsecond, far above the error of a float.
HAIR = 1e-3


class Share:
    """What this process counts by itself: all leases it holds, and rates without Redis."""

    def __init__(self) -> None:
        self.processes = 1
        self.leases: dict[str, set[str]] = {}
        self.tats: dict[str, float] = {}

    def keep(self, demand: Demand, *, granted: bool) -> None:
        """Remember a lease that was granted, forget one that was given back."""
        owner = demand.quota.owner
        if demand.lease_us > 0 and granted and demand.check:
            self.leases.setdefault(owner, set()).add(demand.lease)
        elif demand.lease_us < 0 and owner in self.leases:
            self.leases[owner].discard(demand.lease)
            if not self.leases[owner]:
                del self.leases[owner]

    def of(self, limit: int) -> int:
        """Return this process's share of a limit."""
        return max(1, limit // max(1, self.processes))

    def ask(self, demand: Demand) -> Level:
        """Answer a demand as the script does, by this process's share."""
        # Whole microseconds, or sums would come out a hair short of what they are.
        now = float(time.monotonic_ns() // 1000)
        quota = demand.quota
        requests = Bucket(self, f"rpm:{quota.owner}", quota.rpm, now)
        tokens = Bucket(self, f"tpm:{quota.owner}", quota.tpm, now)
        held = len(self.leases.get(quota.owner, ()))
        verdict = OK
        if demand.check:
            if requests.space + HAIR < requests.interval * demand.requests:
                verdict = NO_REQUESTS
            elif tokens.space + HAIR < tokens.need_us(demand.tokens):
                verdict = NO_TOKENS
            elif quota.slots is not None and demand.lease_us > 0 and held >= self._slots(quota):
                verdict = NO_SLOTS
        if verdict == OK:
            requests.use(demand.requests)
            tokens.use(demand.tokens)
        return Level(
            verdict,
            requests.left,
            requests.reset_us,
            requests.wait_us(demand.requests) if verdict == NO_REQUESTS else 0,
            tokens.left,
            tokens.reset_us,
            tokens.wait_us(demand.tokens) if verdict == NO_TOKENS else 0,
        )

    def _slots(self, quota: Quota) -> int:
        return self.of(quota.slots) if quota.slots else 0


class Bucket:
    """One rate of one owner in this process; a rate without a limit is never short."""

    def __init__(self, share: Share, name: str, limit: int | None, now: float) -> None:
        self.share = share
        self.name = name
        self.now = now
        self.interval = MINUTE_US / share.of(limit) if limit else 0.0
        self.tat = max(share.tats.get(name, 0.0), now)

    @property
    def space(self) -> float:
        """Return the microseconds that may still be used up."""
        return self.now + MINUTE_US - self.tat

    @property
    def left(self) -> int:
        """Return how many are left."""
        return int(self.space / self.interval + HAIR) if self.interval else 0

    @property
    def reset_us(self) -> int:
        """Return when the bucket is full again."""
        return int(self.tat - self.now)

    def need_us(self, count: int) -> float:
        """Return the space that so many take: one at least, all there is at most."""
        return min(self.interval * max(1, count), MINUTE_US)

    def wait_us(self, count: int) -> int:
        """Return when so many are free again."""
        return max(0, int(self.need_us(count) - self.space))

    def use(self, count: int) -> None:
        """Take so many out; a negative number puts them back."""
        if not (self.interval and count):
            return
        self.tat = max(self.now, self.tat + self.interval * count)
        tats = self.share.tats
        tats[self.name] = self.tat
        if len(tats) > MOST_REMEMBERED:
            self.share.tats = {name: tat for name, tat in tats.items() if tat > self.now}
