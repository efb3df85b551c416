"""Asking the till for one call's money, and saying a refusal so that it helps."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from msgspec import Struct

from billing import pricing
from common import ids, money
from common.errors import NO_RETRY, ApiError, retry_advice, retry_headers
from proxy.auth import Caller, store_away
from proxy.desk import StoreAway
from proxy.guard import Incoming
from proxy.routing import Offer
from proxy.till import Ask, Granted

if TYPE_CHECKING:
    from proxy.runtime import Runtime

log = structlog.get_logger(__name__)

RESERVED_RETRY_MS = 500
WINDOWS = {
    "ws_day": ("workspace", "daily"),
    "ws_month": ("workspace", "monthly"),
    "key_day": ("API key", "daily"),
    "key_month": ("API key", "monthly"),
}


class KeyChanged(Exception):
    """The key is not as it was when it was read: read it again and check everything."""


class Hold(Struct, frozen=True):
    """What one call was granted; ``output_limit`` only where it was clamped."""

    ask: Ask
    day: date
    nanos: int
    output_limit: int | None


async def take(
    runtime: Runtime, incoming: Incoming, caller: Caller, offer: Offer, *, asset: str, surface: str
) -> Hold:
    """
    Take the money of one call of a surface aside.

    :raises KeyChanged: the key was changed since it was read
    :raises ApiError: 402, 403 or 429 with its reason; 503 when the store is away
    """
    unit = 1 if asset == "USD" else settings.TOKEN_VALUE_NANOS
    ask = Ask(
        id=incoming.id,
        account=caller.usd_account if asset == "USD" else caller.tok_account,
        usd_account=caller.usd_account,
        workspace=caller.workspace.id,
        key=caller.key.id,
        version=caller.key.version,
        want=pricing.units(nanos=offer.nanos(), unit_nanos=unit),
        need=pricing.units(nanos=offer.least_nanos, unit_nanos=unit),
        unit=unit,
        ttl=settings.HOLD_TTL_S,
        process=runtime.process_id,
        model=offer.model.slug,
        price=offer.legs[0].route.price_id,
        legs=offer.plan(),
        surface=surface,
        stream=offer.legs[0].call.stream,
    )
    try:
        granted = await runtime.till.admit(ask)
    except StoreAway as error:
        raise store_away(error) from error
    if granted.v == "stale":
        raise KeyChanged
    if granted.v == "ok" and granted.granted is not None and granted.day is not None:
        nanos = granted.granted * unit
        limit = offer.affordable(nanos) if granted.granted < ask.want else None
        return Hold(ask, granted.day, nanos, limit)
    raise refusal(granted, offer=offer, ask=ask, asset=asset)


def refusal(granted: Granted, *, offer: Offer, ask: Ask, asset: str) -> ApiError:
    """Turn a verdict of the ledger into the documented error."""
    verdict = granted.v
    if verdict == "frozen":
        message = "This workspace is frozen. Please contact support."
        return ApiError("workspace_frozen", message)
    if verdict in ("insufficient_balance", "balance_reserved"):
        return short_of_money(granted, offer=offer, ask=ask, asset=asset)
    window = verdict.removesuffix("_held")
    if window in WINDOWS:
        return over_cap(window, held=verdict.endswith("_held"))
    log.error("The ledger refused an item", verdict=verdict, id=ids.form("req_", ask.id))
    return ApiError("internal", "Something went wrong on our side. It was not charged.")


def short_of_money(granted: Granted, *, offer: Offer, ask: Ask, asset: str) -> ApiError:
    """Return the 402: final, or worth a retry because calls in flight hold the money."""
    needed = money.usd(ask.need * ask.unit, at_least=6)
    affordable = max(0, offer.affordable((granted.granted or 0) * ask.unit))
    extra: dict[str, Any] = {"asset": asset, "needed_usd": needed}
    what = f"{needed} USD"
    if asset != "USD":
        extra["needed_tokens"] = ask.need
        what = f"{ask.need} platform tokens ({asset})"
    covers = ""
    if offer.legs[0].call.kind == "chat":
        extra["affordable_max_tokens"] = affordable
        covers = f"; it covers max_tokens of {affordable}"
    if granted.v == "balance_reserved":
        return ApiError(
            "balance_reserved",
            f"This call needs {what}, which calls in flight hold right now. "
            + retry_advice(after_ms=RESERVED_RETRY_MS),
            headers=retry_headers(after_ms=RESERVED_RETRY_MS),
            **extra,
        )
    return ApiError(
        "insufficient_balance",
        f"This call can cost up to {what} and the balance does not cover it{covers}. "
        "Add credit in the dashboard, or send less.",
        headers=NO_RETRY,
        **extra,
    )


def over_cap(window: str, *, held: bool) -> ApiError:
    """Return the 429 of a spending cap: until the window ends, or until calls end."""
    owner, period = WINDOWS[window]
    extra: dict[str, Any] = {"cap": f"{'key' if owner == 'API key' else 'workspace'}_{period}"}
    if held:
        return ApiError(
            "cap_reserved",
            f"The {period} spending cap of this {owner} is held by calls in flight. "
            + retry_advice(after_ms=RESERVED_RETRY_MS),
            headers=retry_headers(after_ms=RESERVED_RETRY_MS),
            **extra,
        )
    now = datetime.now(tz=UTC)
    reset = window_end(now, period)
    reset_at = f"{reset:%Y-%m-%dT%H:%M:%SZ}"
    seconds = max(1, int((reset - now).total_seconds()) + 1)
    return ApiError(
        "cap_reached",
        f"The {period} spending cap of this {owner} is reached. It resets at {reset_at}. "
        + retry_advice(after_ms=seconds * 1000),
        headers={"retry-after": str(seconds), **NO_RETRY},
        reset_at=reset_at,
        **extra,
    )


def window_end(now: datetime, period: str) -> datetime:
    """Return when a UTC day or month ends."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "daily":
        return midnight + timedelta(days=1)
    return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
