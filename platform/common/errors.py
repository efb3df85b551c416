"""
The one error shape. The closed list of reasons is in `common.reasons`.

    ApiError
    └── raised anywhere between the edge and the ledger, written once by the edge

Body: ``{"error": {"type", "message", "code", "param", "reason"}}``: code is the integer
status, reason one of ``REASONS`` (OpenAI's own word where it has one).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from common.reasons import REASON_LIST

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

REASONS: Mapping[str, int] = {reason: each.status for reason, each in REASON_LIST.items()}


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


def retry_advice(*, after_ms: int) -> str:
    """Return the sentence that says the same as ``retry_headers``, in whole seconds."""
    seconds = max(1, -(-after_ms // 1000))
    return f"Please retry after {seconds} second{'' if seconds == 1 else 's'}."


NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
