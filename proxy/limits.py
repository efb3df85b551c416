"""What each key may use per minute and at once: the 429s and the x-ratelimit headers."""

from __future__ import annotations

from uuid import UUID

from common.errors import NO_RETRY, ApiError, retry_headers
from proxy.auth import Caller
from proxy.quotas import (
    LEASE_US,
    NO_REQUESTS,
    NO_SLOTS,
    NO_TOKENS,
    Demand,
    Level,
    Quota,
    Quotas,
)

STREAM_RETRY_MS = 1000


class Limiter:
    """Counts requests, tokens and open streams of keys."""

    def __init__(self, quotas: Quotas) -> None:
        self.quotas = quotas

    async def take(self, caller: Caller, *, stream: UUID | None = None) -> dict[str, str]:
        """
        Take one request of a key's minute, and a slot for its stream; return the headers.

        :raises ApiError: 429 ``rate_limited`` or ``too_many_streams``
        """
        quota = quota_of(caller)
        refuse_zero(quota)
        level = await self._ask(quota, requests=1, stream=stream)
        headers = limit_headers(quota, level)
        if level.verdict in (NO_REQUESTS, NO_TOKENS):
            raise rate_limited(level, headers)
        if level.verdict == NO_SLOTS:
            raise too_many_streams(quota, headers)
        return headers

    async def peek(self, caller: Caller) -> dict[str, str]:
        """Return the headers of a key as it stands, for answers that count against nothing."""
        quota = quota_of(caller)
        return limit_headers(quota, await self._ask(quota, requests=0, stream=None))

    async def _ask(self, quota: Quota, *, requests: int, stream: UUID | None) -> Level:
        leased = stream is not None and quota.slots is not None
        if not (quota.rpm or quota.tpm or leased):
            return Level(0)
        return await self.quotas.ask(
            Demand(
                quota=quota,
                requests=requests,
                lease=str(stream) if leased else "",
                lease_us=LEASE_US if leased else 0,
            )
        )

    def give_back(self, caller: Caller, *, stream: UUID | None = None) -> None:
        """Return what a refusal for money did not use."""
        self._note(caller, requests=-1, tokens=0, stream=stream)

    def end(self, caller: Caller, *, tokens: int, stream: UUID | None = None) -> None:
        """Count the tokens that a call used, and free its stream's slot."""
        self._note(caller, requests=0, tokens=tokens, stream=stream)

    def _note(self, caller: Caller, *, requests: int, tokens: int, stream: UUID | None) -> None:
        quota = quota_of(caller)
        leased = stream is not None and quota.slots is not None
        if (requests and quota.rpm) or (tokens and quota.tpm) or leased:
            self.quotas.note(
                Demand(
                    quota=quota,
                    check=False,
                    requests=requests,
                    tokens=tokens,
                    lease=str(stream) if leased else "",
                    lease_us=-1 if leased else 0,
                )
            )


def quota_of(caller: Caller) -> Quota:
    """Return the limits of a key."""
    return Quota(
        owner=f"key:{caller.key.id}",
        rpm=caller.rpm,
        tpm=caller.key.tpm,
        slots=caller.key.max_streams,
    )


def refuse_zero(quota: Quota) -> None:
    """
    Refuse a key that may use nothing: no waiting helps.

    :raises ApiError: 429
    """
    for limit, what in ((quota.rpm, "requests"), (quota.tpm, "tokens")):
        if limit == 0:
            raise ApiError(
                "rate_limited",
                f"This key's rate limit is 0 {what} per minute. Raise it in the dashboard.",
                headers={**limit_headers(quota, Level(0)), **NO_RETRY},
            )


def rate_limited(level: Level, headers: dict[str, str]) -> ApiError:
    """Return the 429 of a rate, with the same seconds in header and message."""
    seconds = max(1, -(-max(level.wait_us, level.tokens_wait_us) // 1_000_000))
    what = "Token rate limit" if level.verdict == NO_TOKENS else "Rate limit"
    return ApiError(
        "rate_limited",
        f"{what} exceeded. Please retry after {seconds} second{'' if seconds == 1 else 's'}.",
        headers={**headers, "retry-after": str(seconds)},
    )


def too_many_streams(quota: Quota, headers: dict[str, str]) -> ApiError:
    """Return the 429 of a key that has all its streams open."""
    if not quota.slots:
        retry, advice = dict(NO_RETRY), "Raise it in the dashboard."
    else:
        retry, advice = retry_headers(after_ms=STREAM_RETRY_MS), "Close one, or retry later."
    return ApiError(
        "too_many_streams",
        f"This key may have {quota.slots} streams open at once. {advice}",
        headers={**headers, **retry},
    )


def limit_headers(quota: Quota, level: Level) -> dict[str, str]:
    """Return OpenAI's headers of the limits that are set; resets in its form (``6m0s``)."""
    headers: dict[str, str] = {}
    if quota.rpm is not None:
        headers |= _three("requests", quota.rpm, level.left, level.reset_us)
    if quota.tpm is not None:
        headers |= _three("tokens", quota.tpm, level.tokens_left, level.tokens_reset_us)
    return headers


def _three(what: str, limit: int, left: int, reset_us: int) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": str(limit),
        f"x-ratelimit-remaining-{what}": str(max(0, left)),
        f"x-ratelimit-reset-{what}": duration(reset_us),
    }


def duration(microseconds: int) -> str:
    """Write a duration as OpenAI does: ``12ms``, ``1s``, ``6m0s``."""
    if microseconds < 1_000_000:
        return f"{-(-microseconds // 1000)}ms"
    seconds = -(-microseconds // 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
