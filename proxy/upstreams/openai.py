"""
Providers that speak OpenAI's chat completions: build the request, judge the answer.

Headers are built from nothing, so no header of a caller ever travels on.
"""

from __future__ import annotations

from functools import cache

import httpx
import msgspec

from proxy.upstreams.base import Target, UpstreamTrouble
from proxy.wire.chat import Call, upstream_body

NEVER_SENT = frozenset({"models", "provider", "async"})
CONTEXT_WORDS = ("context_length_exceeded", "maximum context length", "context window")
FILTER_WORDS = ("content_filter", "content_policy_violation", "responsibleai")


def request(
    *, target: Target, call: Call, request_id: str, output_limit: int | None
) -> httpx.Request:
    """Build the request of one attempt."""
    drop = NEVER_SENT | target.drop
    if target.kind != "sandbox":
        drop |= {"sandbox"}
    return httpx.Request(
        "POST",
        endpoint(target.base_url),
        content=upstream_body(
            call,
            upstream_model=target.upstream_model,
            output_limit=output_limit,
            limit_name=target.limit_name,
            drop=drop,
        ),
        headers={
            "authorization": f"Bearer {target.api_key}",
            "content-type": "application/json",
            "accept": "text/event-stream" if call.request.stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "tollgate",
            "x-request-id": request_id,
        },
    )


@cache
def endpoint(base_url: str) -> httpx.URL:
    """Return a provider's endpoint; parsing an address costs more than sending to it."""
    return httpx.URL(f"{base_url}/chat/completions")


def refusal(status: int, body: bytes) -> UpstreamTrouble:
    """Judge an answer that is not a success; the provider's words stay here."""
    text = body[:20_000].decode("utf-8", "replace").lower()
    outcome = f"http_{status}"
    if status in (400, 413, 422):
        return _callers_fault(outcome, status, text)
    return _failed(outcome, status)


def error_in_body(error: dict[str, object]) -> UpstreamTrouble:
    """Judge an ``error`` object inside an answer or a stream that began as a success."""
    text = msgspec.json.encode(error, enc_hook=str).decode().lower()
    if any(word in text for word in FILTER_WORDS):
        return _callers_fault("error_in_body", 400, text)
    return _failed("error_in_body", 200)


def unreachable(error: Exception) -> UpstreamTrouble:
    """Judge a connection that failed or timed out before the answer began."""
    if isinstance(error, httpx.TimeoutException) and not hung_up(error):
        connecting = "connect" in str(error).lower() or isinstance(error, httpx.ConnectTimeout)
        return UpstreamTrouble(
            "connect_timeout" if connecting else "read_timeout",
            reason="upstream_timeout",
            message="The model's provider did not answer in time.",
            fallback=True,
            ambiguous=not connecting,
        )
    refused = isinstance(error, httpx.ConnectError)
    return UpstreamTrouble(
        "connect_failed" if refused else "disconnected",
        reason="upstream_failed",
        message="The model's provider could not be reached.",
        fallback=True,
        ambiguous=not refused,
    )


def garbage() -> UpstreamTrouble:
    """Judge an answer that cannot be read."""
    return _failed("garbage", 200)


def hung_up(error: Exception) -> bool:
    """Tell whether the other side closed the connection before it answered."""
    # httpx-aiohttp reports a server that hung up as a ConnectTimeout.
    return type(error.__cause__).__name__ in ("ServerDisconnectedError", "ClientOSError")


def _failed(outcome: str, status: int) -> UpstreamTrouble:
    return UpstreamTrouble(
        outcome,
        reason="upstream_failed",
        message="The model's provider failed. The request was not charged.",
        fallback=True,
        status=status,
        ambiguous=status >= 500,
    )


def _callers_fault(outcome: str, status: int, text: str) -> UpstreamTrouble:
    reason, message = "upstream_rejected", "The model's provider refused this request as invalid."
    if any(word in text for word in CONTEXT_WORDS):
        reason = "context_length_exceeded"
        message = "The prompt and the output limit exceed the model's context length."
    elif any(word in text for word in FILTER_WORDS):
        reason = "content_filter"
        message = "The model's provider refused the request under its content policy."
    return UpstreamTrouble(outcome, reason=reason, message=message, fallback=False, status=status)
