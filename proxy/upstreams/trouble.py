"""Judging failures alike for all providers: whose fault it is, whether another may help."""

from __future__ import annotations

import aiohttp
import httpx
import msgspec

from proxy.upstreams.base import UpstreamTrouble

CONTEXT_WORDS = (
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "prompt is too long",
    "exceeds the maximum number of tokens",
    "exceed context limit",
)
FILTER_WORDS = (
    "content_filter",
    "content_policy_violation",
    "content filtering policy",
    "responsibleai",
    "moderation_blocked",
)


def refusal(status: int, body: bytes) -> UpstreamTrouble:
    """Judge an answer that is not a success; the provider's words stay here."""
    text = body[:20_000].decode("utf-8", "replace").lower()
    outcome = f"http_{status}"
    if status in (400, 413, 422):
        return callers_fault(outcome, status, text)
    return failed(outcome, status)


def error_in_body(error: dict[str, object]) -> UpstreamTrouble:
    """Judge an ``error`` object inside an answer or a stream that began as a success."""
    text = msgspec.json.encode(error, enc_hook=str).decode().lower()
    if any(word in text for word in FILTER_WORDS):
        return callers_fault("error_in_body", 400, text)
    return failed("error_in_body", 200)


def unreachable(error: Exception) -> UpstreamTrouble:
    """Judge a connection that failed or timed out before the answer was whole."""
    if isinstance(error, httpx.PoolTimeout):
        return busy("pool_full")
    refused = isinstance(error.__cause__, aiohttp.ClientConnectorError)
    if isinstance(error, httpx.TimeoutException) and not (refused or hung_up(error)):
        connecting = isinstance(error.__cause__, aiohttp.ConnectionTimeoutError) or isinstance(
            error, httpx.ConnectTimeout
        )
        return UpstreamTrouble(
            "connect_timeout" if connecting else "read_timeout",
            reason="upstream_timeout",
            message="The model's provider did not answer in time.",
            fallback=True,
            ambiguous=not connecting,
        )
    return UpstreamTrouble(
        "connect_failed" if refused else "disconnected",
        reason="upstream_failed",
        message="The model's provider could not be reached.",
        fallback=True,
        ambiguous=not refused,
    )


def hung_up(error: Exception) -> bool:
    """Tell whether the other side closed the connection before it answered."""
    # httpx-aiohttp reports every connection error that is no timeout as a ConnectTimeout.
    cause = error.__cause__
    return isinstance(cause, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) and not (
        isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError)
    )


def garbage() -> UpstreamTrouble:
    """Judge an answer that cannot be read: the work may have been done all the same."""
    trouble = failed("garbage", 200)
    trouble.ambiguous = True
    return trouble


def busy(outcome: str) -> UpstreamTrouble:
    """Judge a provider that we do not call now: its own limit would refuse us."""
    return UpstreamTrouble(
        outcome,
        reason="upstream_failed",
        message="The model's provider is busy. Please retry.",
        fallback=True,
        limited=True,
    )


def failed(outcome: str, status: int) -> UpstreamTrouble:
    """Return our trouble with a provider: another route may help."""
    return UpstreamTrouble(
        outcome,
        reason="upstream_failed",
        message="The model's provider failed. The request was not charged.",
        fallback=True,
        status=status,
        ambiguous=status >= 500 or status == 408,
    )


def callers_fault(outcome: str, status: int, text: str) -> UpstreamTrouble:
    """Return a request that no provider of this model would take."""
    reason, message = "upstream_rejected", "The model's provider refused this request as invalid."
    if any(word in text for word in CONTEXT_WORDS):
        reason = "context_length_exceeded"
        message = "The prompt and the output limit exceed the model's context length."
    elif any(word in text for word in FILTER_WORDS):
        reason = "content_filter"
        message = "The model's provider refused the request under its content policy."
    return UpstreamTrouble(outcome, reason=reason, message=message, fallback=False, status=status)
