"""What each key may use per minute and at once: the 429s and the x-ratelimit headers."""

from __future__ import annotations

from uuid import UUID

from common.errors import NO_RETRY, ApiError, retry_advice, retry_headers
from proxy.auth import Caller
from proxy.quotas import (
    LEASE_US,
    MOST_REMEMBERED,
    NO_REQUESTS,
    NO_SLOTS,
    NO_TOKENS,
    OK,
    Demand,
    Level,
    Quota,
    Quotas,
)
from proxy.routing import Offer
from proxy.wire.answers import estimated_tokens

STREAM_RETRY_MS = 1000
MINUTE_S = 60
# What a call is expected to say where its caller sets no limit: no more than this, and than
# this part of the key's tokens per minute, or a small key could make one call at a time.
USUAL_OUTPUT_TOKENS = 1000
USUAL_PART = 10
# Room for so many more calls like this one is far from a limit.
EASE = 10


class Limiter:
    """Counts requests, tokens and open streams of keys."""

    def __init__(self, quotas: Quotas) -> None:
        self.quotas = quotas
        # What each key had left when it was last looked at.
        self.seen: dict[str, Level] = {}

    async def take(
        self, caller: Caller, *, tokens: int = 0, stream: UUID | None = None
    ) -> dict[str, str]:
        """
        Take one request and its tokens of a key's minute, and a slot for its stream.

        Returns the headers. ``tokens`` is what ``reservation`` returned.

        :raises ApiError: 429 ``rate_limited`` or ``too_many_streams``
        """
        quota = quota_of(caller)
        refuse_zero(quota)
        level = await self._ask(quota, requests=1, tokens=tokens, stream=stream)
        self._see(quota, level)
        headers = limit_headers(quota, level)
        if level.verdict in (NO_REQUESTS, NO_TOKENS):
            raise rate_limited(level, headers)
        if level.verdict == NO_SLOTS:
            raise too_many_streams(quota, headers)
        return headers

    def is_at_ease(self, caller: Caller, *, tokens: int, stream: UUID | None) -> bool:
        """Tell whether a refusal is unlikely, by what this process saw last."""
        quota = quota_of(caller)
        level = self.seen.get(quota.owner)
        if level is None or level.verdict != OK or (stream is not None and quota.slots is not None):
            return False
        return (quota.rpm is None or level.left >= EASE) and (
            quota.tpm is None or level.tokens_left >= EASE * max(1, tokens)
        )

    def _see(self, quota: Quota, level: Level) -> None:
        if len(self.seen) >= MOST_REMEMBERED:
            self.seen.clear()
        self.seen[quota.owner] = level

    async def peek(self, caller: Caller) -> dict[str, str]:
        """Return the headers of a key as it stands, for answers that count against nothing."""
        quota = quota_of(caller)
        return limit_headers(quota, await self._ask(quota, requests=0, tokens=0, stream=None))

    async def _ask(self, quota: Quota, *, requests: int, tokens: int, stream: UUID | None) -> Level:
        leased = stream is not None and quota.slots is not None
        if not (quota.rpm or quota.tpm or leased):
            return Level(0)
        return await self.quotas.ask(
            Demand(
                quota=quota,
                requests=requests,
                tokens=tokens,
                lease=str(stream) if leased else "",
                lease_us=LEASE_US if leased else 0,
            )
        )

    def give_back(self, caller: Caller, *, tokens: int, stream: UUID | None = None) -> None:
        """Return what a refusal for money did not use."""
        self._note(caller, requests=-1, tokens=-tokens, stream=stream)

    def end(
        self,
        caller: Caller,
        *,
        used: int,
        reserved: int,
        elapsed_s: float,
        stream: UUID | None = None,
    ) -> None:
        """
        Count the tokens that a call used instead of those reserved, and free its stream's slot.

        A reservation leaves the bucket again within a minute: only what is left of it is
        given back.
        """
        tokens = used - reserved
        if tokens < 0:
            tokens = round(tokens * max(0.0, 1 - elapsed_s / MINUTE_S))
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


def reservation(caller: Caller, offer: Offer) -> int:
    """
    Return the tokens that a call takes of its key's minute until it is known what it used.

    The prompt by its bytes and the output that was asked for; a call beyond the whole limit
    takes all of it.
    """
    most = caller.key.tpm
    if not most:
        return 0
    first = offer.legs[0]
    usual = min(first.output_tokens, USUAL_OUTPUT_TOKENS, most // USUAL_PART)
    output = first.call.output_limit or usual
    return min(most, estimated_tokens(first.call.prompt_bytes) + output * first.call.choices)


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
        f"{what} exceeded. {retry_advice(after_ms=seconds * 1000)}",
        headers={**headers, "retry-after": str(seconds)},
    )


def too_many_streams(quota: Quota, headers: dict[str, str]) -> ApiError:
    """Return the 429 of a key that has all its streams open."""
    if not quota.slots:
        retry, advice = dict(NO_RETRY), "Raise it in the dashboard."
    else:
        retry = retry_headers(after_ms=STREAM_RETRY_MS)
        advice = f"Close one of them. {retry_advice(after_ms=STREAM_RETRY_MS)}"
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
