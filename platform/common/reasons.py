"""
Every reason an API error can carry, its status, and what to do: the source of docs/errors.md.

Run ``python -m common.reasons > docs/errors.md`` (with PYTHONPATH=platform) after a change.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """The status of a reason, what it means, and what a caller does about it."""

    status: int
    meaning: str
    advice: str
    also: tuple[int, ...] = ()

    @property
    def statuses(self) -> str:
        """Return all its statuses as text."""
        return ", ".join(str(status) for status in (self.status, *self.also))


REASON_LIST: Mapping[str, Reason] = {
    "invalid_json": Reason(
        400, "The body is not a JSON object, or is nested too deeply.", "Send valid JSON."
    ),
    "invalid_parameter": Reason(
        400,
        "A field has a wrong type or value; `param` names it. 408: the body came too slowly,"
        " 413: it is too large, 415: it is compressed.",
        "Correct the request.",
        also=(408, 413, 415),
    ),
    "unsupported_parameter": Reason(
        400, "A field is not accepted here; `param` names it.", "Leave the field out."
    ),
    "unpriced_parameter": Reason(
        400,
        "A field has a cost without a bound that no route of the model prices.",
        "Leave it out, or choose a model that prices it.",
    ),
    "context_length_exceeded": Reason(
        400, "Prompt and output limit exceed the context length.", "Shorten the prompt."
    ),
    "content_filter": Reason(
        400, "The provider refused the content under its policy.", "Change the prompt."
    ),
    "workspace_required": Reason(
        400,
        "The key carries several workspaces and none was named.",
        "Send `x-workspace-id`.",
    ),
    "invalid_api_key": Reason(
        401, "No key, a malformed one, or one that does not exist.", "Check the key."
    ),
    "key_disabled": Reason(
        401, "The key was disabled.", "Enable it in the dashboard, or use another."
    ),
    "key_expired": Reason(401, "The key's time is over.", "Create or rotate a key."),
    "insufficient_balance": Reason(
        402,
        "The balance does not cover what the call can cost. `affordable_max_tokens` says what"
        " it does cover, `asset` which balance is meant.",
        "Add credit, or send less. Do not retry.",
    ),
    "balance_reserved": Reason(
        402,
        "The money is there, but calls in flight hold it.",
        "Retry after `retry-after-ms`; official SDKs do.",
    ),
    "ip_not_allowed": Reason(
        403, "The key may not be used from this address.", "Change the key's IP list."
    ),
    "scope_missing": Reason(
        403, "The key, or its owner's role, lacks the scope.", "Use a key with the scope."
    ),
    "second_factor_required": Reason(
        403,
        "Staff have not used their second factor in this session, or too long ago.",
        "Open `/admin/` in the same browser and use it, or send an API key.",
    ),
    "workspace_forbidden": Reason(
        403, "The key does not carry the workspace.", "Name one that it carries."
    ),
    "workspace_frozen": Reason(
        403, "The workspace is frozen while something is cleared up.", "Contact support."
    ),
    "model_not_allowed": Reason(
        403, "The model is not on the key's list.", "Use a key that may call it."
    ),
    "model_not_found": Reason(
        404, "There is no such model, or it is not for sale now.", "See `GET /v1/models`."
    ),
    "unsupported_endpoint": Reason(
        404,
        "There is no such endpoint (404), or not with this method (405).",
        "Check path and method.",
        also=(405,),
    ),
    "not_found": Reason(404, "There is no such object.", "Check the id."),
    "idempotency_in_progress": Reason(
        409, "A call with this Idempotency-Key is under way.", "Retry after `retry-after-ms`."
    ),
    "idempotency_key_reused": Reason(
        409, "The Idempotency-Key was used with another body.", "Use a new key."
    ),
    "idempotency_completed": Reason(
        409,
        "The call with this Idempotency-Key has ended and its answer is not kept: it was a"
        " stream, or longer than 1 MB. `receipt_id` names its receipt.",
        "Fetch the receipt.",
    ),
    "version_conflict": Reason(
        409,
        "The object was changed since the version named in `If-Match` or `version`.",
        "Read it again and repeat the change.",
    ),
    "rate_limited": Reason(
        429,
        "Too many requests or tokens per minute; for streams at once see `too_many_streams`.",
        "Wait for `Retry-After`; official SDKs do.",
    ),
    "cap_reached": Reason(
        429,
        "A daily or monthly spending cap is reached; `cap` names it, `reset_at` says when it"
        " begins anew.",
        "Raise the cap or wait. Do not retry before.",
    ),
    "cap_reserved": Reason(
        429,
        "Calls in flight hold what is left under a cap.",
        "Retry after `retry-after-ms`; official SDKs do.",
    ),
    "too_many_streams": Reason(
        429, "Too many streams of this key are open.", "Close one, or retry later."
    ),
    "upstream_rejected": Reason(
        400, "The provider found the request invalid.", "Check the parameters for this model."
    ),
    "upstream_failed": Reason(
        502, "The provider failed on every route. Nothing was charged.", "Retry."
    ),
    "upstream_timeout": Reason(
        502, "The provider did not answer in time. Nothing was charged.", "Retry."
    ),
    "stream_interrupted": Reason(
        502,
        "The provider broke off in the middle of a stream. What is proven to have been"
        " generated is charged.",
        "Start again.",
    ),
    "store_unavailable": Reason(
        503, "Our database cannot be reached. Nothing was charged.", "Retry; official SDKs do."
    ),
    "crypto_unavailable": Reason(
        409,
        "Crypto is not taken here now, or a coin has no price that can be trusted.",
        "Retry later, or pay by card.",
    ),
    "payments_unavailable": Reason(
        503, "The payment service cannot be reached.", "Retry in a minute."
    ),
    "too_many_connections": Reason(
        503, "This server has as many connections as it may.", "Retry; official SDKs do."
    ),
    "draining": Reason(503, "This server is shutting down.", "Retry; official SDKs do."),
    "internal": Reason(500, "Our fault. Nothing was charged.", "Tell support the `x-request-id`."),
}


def page() -> str:
    """Return docs/errors.md."""
    rows = sorted(REASON_LIST.items(), key=lambda item: (item[1].status, item[0]))
    lines = [
        "# Errors",
        "",
        "Every error of the API has one shape:",
        "",
        "```json",
        '{"error": {"type": "insufficient_funds", "message": "…", "code": 402, "param": null,',
        '           "reason": "insufficient_balance"}}',
        "```",
        "",
        "`code` is the HTTP status, `reason` one of this list, `param` the field that is wrong.",
        "Every response has `x-request-id`; tell it to support. `x-should-retry` tells official",
        "SDKs whether another try can help.",
        "",
        "<!-- Generated from `platform/common/reasons.py`. -->",
        "",
        "| status | reason | what it means | what to do |",
        "|---|---|---|---|",
        *(f"| {r.statuses} | `{name}` | {r.meaning} | {r.advice} |" for name, r in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
