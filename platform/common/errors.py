"""
The one error shape and the closed list of reasons.

    ApiError
    └── raised anywhere between the edge and the ledger, written once by the edge

Body: ``{"error": {"type", "message", "code", "param", "reason"}}``: code is the integer
status, reason one of ``REASONS`` (OpenAI's own word where it has one).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

TYPES: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    402: "insufficient_funds",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    429: "rate_limit_exceeded",
    500: "internal_error",
    502: "upstream_error",
    503: "unavailable",
}

REASONS: Mapping[str, int] = {
    "invalid_json": 400,
    "invalid_parameter": 400,
    "unsupported_parameter": 400,
    "unpriced_parameter": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "workspace_required": 400,
    "invalid_api_key": 401,
    "key_disabled": 401,
    "key_expired": 401,
    "ip_not_allowed": 403,
    "insufficient_balance": 402,
    "balance_reserved": 402,
    "scope_missing": 403,
    "workspace_forbidden": 403,
    "workspace_frozen": 403,
    "model_not_allowed": 403,
    "model_not_found": 404,
    "unsupported_endpoint": 404,
    "not_found": 404,
    "idempotency_in_progress": 409,
    "idempotency_key_reused": 409,
    "idempotency_completed": 409,
    "rate_limited": 429,
    "cap_reached": 429,
    "cap_reserved": 429,
    "too_many_streams": 429,
    "upstream_failed": 502,
    "upstream_timeout": 502,
    "upstream_rejected": 400,
    "stream_interrupted": 502,
    "store_unavailable": 503,
    "draining": 503,
    "internal": 500,
}


class ApiError(Exception):
    """An anticipated refusal, told to the caller in the one error shape."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        param: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param
        self.status = status or REASONS[reason]
        self.headers = dict(headers or {})
        self.extra = extra

    def error(self) -> dict[str, Any]:
        """Return the object under ``error``."""
        return {
            "type": TYPES[self.status],
            "message": self.message,
            "code": self.status,
            "param": self.param,
            "reason": self.reason,
            **self.extra,
        }

    def body(self) -> bytes:
        """Return the whole JSON body."""
        return msgspec.json.encode({"error": self.error()})


def bad_parameter(message: str, *, param: str | None = None) -> ApiError:
    """Return the 400 for a field that is present and wrong."""
    return ApiError("invalid_parameter", message, param=param)


def retry_headers(*, after_ms: int) -> dict[str, str]:
    """Return the headers that make official SDKs try again after ``after_ms``."""
    return {
        "retry-after": str(max(1, -(-after_ms // 1000))),
        "retry-after-ms": str(after_ms),
        "x-should-retry": "true",
    }


NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
