"""
Circuit breakers: routes that fail again and again are kept out of the way for a while.

One breaker per provider and upstream model. Failures in a row open it; when its rest is
over one call is let through as a probe, whose success closes it and whose failure opens it
for longer. Where all routes of a call rest, the one that has rested longest is tried. What
opens or closes is told to the other processes through Redis, by a timer:
no request ever waits for it, and without Redis each process knows what it saw itself.
"""

from __future__ import annotations

import time

import redis.asyncio
import structlog
from msgspec import Struct
from redis.exceptions import RedisError

from proxy.catalogue import Route
from proxy.paces import Paces
from proxy.upstreams.base import UpstreamTrouble

log = structlog.get_logger(__name__)

FAILURES = 5
REST_S = 10.0
LONGEST_REST_S = 120.0
PROBE_S = 30.0
SHARE_EVERY_S = 0.5
FORGET_AFTER_S = 600.0
HASH = "breakers"
TIMEOUTS = "upstream_timeout"


class Breaker(Struct):
    """Failures in a row; since it opened: until when it rests, for how long, who probes."""

    failures: int = 0
    open_until: float = 0.0
    rest_s: float = 0.0
    probe_until: float = 0.0

    @property
    def opened(self) -> bool:
        """Tell whether it has not been closed again: it rests, or waits for a probe."""
        return self.open_until > 0

    def passes(self, now: float) -> bool:
        """Tell whether a call may go this way by choice."""
        return not self.opened or (now >= self.open_until and now >= self.probe_until)


class Breakers:
    """What one process knows of all routes' health; times by the wall clock."""

    def __init__(self) -> None:
        self.by_name: dict[str, Breaker] = {}
        # What the others have not been told yet: an opened breaker, or None for a closed one.
        self.untold: dict[str, Breaker | None] = {}
        self.paces = Paces()

    def healthy(self, route: Route) -> bool:
        """Tell whether a route is not resting; others are tried instead where it is."""
        breaker = self.by_name.get(name_of(route))
        return breaker is None or breaker.passes(time.time())

    def opened_at(self, route: Route) -> float:
        """Return when a route's rest began; it is a route that rests."""
        breaker = self.by_name.get(name_of(route))
        return breaker.open_until - breaker.rest_s if breaker is not None else 0.0

    def begin(self, route: Route) -> None:
        """Note that a call goes this way; after a rest it is the one that probes."""
        breaker = self.by_name.get(name_of(route))
        if breaker is not None and breaker.opened:
            breaker.probe_until = time.time() + PROBE_S

    def judge(self, route: Route, trouble: UpstreamTrouble) -> None:
        """Count a provider's trouble; a request that it refused as wrong proves it healthy."""
        if not trouble.limited:
            self.note(route, failed=trouble.fallback or trouble.reason == TIMEOUTS)

    def note(self, route: Route, *, failed: bool) -> None:
        """Count a failure, or forget all of them after a success."""
        name = name_of(route)
        if failed:
            self._fail(name, self.by_name.setdefault(name, Breaker()))
            return
        breaker = self.by_name.pop(name, None)
        if breaker is not None and breaker.opened:
            self.untold[name] = None
            log.info("A route works again", route=name)

    def _fail(self, name: str, breaker: Breaker) -> None:
        now = time.time()
        breaker.failures += 1
        resting = breaker.opened and now < breaker.open_until
        if resting or (not breaker.opened and breaker.failures < FAILURES):
            return
        breaker.rest_s = min(breaker.rest_s * 2, LONGEST_REST_S) if breaker.opened else REST_S
        breaker.open_until = now + breaker.rest_s
        breaker.probe_until = 0.0
        self.untold[name] = breaker
        log.warning("A route rests", route=name, failures=breaker.failures, rest_s=breaker.rest_s)

    async def share(self, client: redis.asyncio.Redis) -> None:
        """Tell the other processes what opened and closed here, and hear of theirs."""
        told, self.untold = self.untold, {}
        try:
            known = await self._exchange(client, told)
        except (RedisError, OSError, TimeoutError) as error:
            log.debug("Breakers are per process", error=type(error).__name__)
            self.untold = told | self.untold
            return
        self._hear(known)

    async def _exchange(
        self, client: redis.asyncio.Redis, told: dict[str, Breaker | None]
    ) -> dict[bytes, bytes]:
        pipeline = client.pipeline(transaction=False)
        for name, breaker in told.items():
            if breaker is None:
                pipeline.hdel(HASH, name)
            else:
                pipeline.hset(HASH, name, f"{breaker.open_until} {breaker.rest_s}")
        pipeline.hgetall(HASH)
        pipeline.expire(HASH, int(FORGET_AFTER_S))
        answers = await pipeline.execute()
        known: dict[bytes, bytes] = answers[-2]
        return known

    def _hear(self, known: dict[bytes, bytes]) -> None:
        """Take over what the others say, except about what changed here meanwhile."""
        now = time.time()
        heard = {name.decode(): text.split() for name, text in known.items()}
        for name, breaker in list(self.by_name.items()):
            if breaker.opened and name not in heard and name not in self.untold:
                del self.by_name[name]
        for name, (until, rest) in heard.items():
            open_until, rest_s = float(until), float(rest)
            if name in self.untold:
                continue
            if open_until < now - FORGET_AFTER_S:
                self.untold[name] = None
                self.by_name.pop(name, None)
                continue
            breaker = self.by_name.setdefault(name, Breaker())
            if open_until > breaker.open_until:
                breaker.failures = max(breaker.failures, FAILURES)
                breaker.open_until, breaker.rest_s, breaker.probe_until = open_until, rest_s, 0.0


def name_of(route: Route) -> str:
    """Return what a breaker is for: a provider's slug has no space."""
    return f"{route.provider.slug} {route.upstream_model}"
