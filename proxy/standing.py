"""
``GET key`` and ``GET credits``: what a key may still use, and what its workspace has left.

OpenRouter's fields are numbers (https://openrouter.ai/docs/api/api-reference/api-keys/get-current-key
and …/credits/get-credits); our own money is decimal strings.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from msgspec import Raw, Struct

from accounts.scopes import INFERENCE, Scope
from common import money
from common.errors import ApiError
from proxy.auth import Caller, store_away
from proxy.guard import Incoming

if TYPE_CHECKING:
    from proxy.runtime import Runtime

# What a key spent on the days of this week that are over is summed once in a while only.
WEEK_KEPT_S = 300.0
OWN_KEYS = ("byok_usage", "byok_usage_daily", "byok_usage_weekly", "byok_usage_monthly")
MOST_WEEKS = 10_000
METER = """
select row_to_json(meter)::text from (
    select k.name, k.prefix, k.last4, k.kind, k.created_at, k.expires_at,
           m.day, m.day_used, m.month_used, m.held, m.day_cap, m.month_cap, m.spent,
           (billing_now() at time zone 'UTC')::date as today,
           not exists (select 1 from billing_account a
                       where a.workspace_id = %s and a.kind = 'paid' and a.credits_posted > 0)
           as never_paid
    from accounts_apikey k join billing_keymeter m on m.key_id = k.id
    where k.id = %s
) meter
"""
# A request's id begins with its time, so the index of a key's calls is also one by time.
WEEK = """
select coalesce(sum(least(cost::numeric, charged::numeric * unit_nanos)), 0)::bigint
from billing_usage where key_id = %s and id >= %s and day >= %s and day < %s
"""
ACCOUNTS = """
select coalesce(json_agg(row_to_json(money)), '[]')::text from (
    select a.asset, a.kind, a.credits_posted, a.debits_posted, a.debits_pending, a.floor,
           (select coalesce(sum(l.expired), 0)::bigint from billing_lot l
            where l.account_id = a.id) as expired,
           (select coalesce(sum(greatest(r.old_charged - r.charged, 0)), 0)::bigint
            from billing_revision r
            where r.workspace_id = a.workspace_id and r.asset = a.asset and a.kind = 'paid'
           ) as returned
    from billing_account a where a.workspace_id = %s
) money
"""


class Meter(Struct, frozen=True):
    """A key and what it has used, in nano-dollars."""

    name: str
    prefix: str
    last4: str
    kind: str
    created_at: datetime
    expires_at: datetime | None
    day: date
    day_used: int
    month_used: int
    held: int
    day_cap: int | None
    month_cap: int | None
    spent: int
    today: date
    never_paid: bool

    @property
    def used_today(self) -> int:
        """Return what is spent and held of today's cap."""
        return self.day_used if self.day == self.today else 0

    @property
    def used_this_month(self) -> int:
        """Return what is spent and held of this month's cap."""
        same = (self.day.year, self.day.month) == (self.today.year, self.today.month)
        return self.month_used if same else 0

    def spent_of(self, used: int) -> int:
        """Return what of a window's use is spent, not held."""
        return max(0, used - self.held)


class AccountRow(Struct, frozen=True):
    """One account of a workspace, in units of its asset."""

    asset: str
    kind: str
    credits_posted: int
    debits_posted: int
    debits_pending: int
    floor: int
    expired: int
    returned: int


class Standing(Struct):
    """The sums of a workspace's accounts of one asset."""

    credits: int = 0
    usage: int = 0
    held: int = 0
    floor: int = 0

    def add(self, row: AccountRow) -> None:
        """Add an account; what expired, or corrections gave back, was neither kept nor used."""
        self.credits += row.credits_posted - row.expired - row.returned
        self.usage += row.debits_posted - row.expired - row.returned
        self.held += row.debits_pending
        if row.kind == "paid":
            self.floor += row.floor

    @property
    def available(self) -> int:
        """Return what a call can still take."""
        return max(0, self.credits - self.usage - self.held - self.floor)


class Weeks:
    """What keys spent this week before today, kept for some minutes."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, date], tuple[float, int]] = {}

    async def before_today(self, runtime: Runtime, *, key_id: int, today: date) -> int:
        """Return nano-dollars spent from Monday until yesterday."""
        until, nanos = self.kept.get((key_id, today), (0.0, 0))
        if until > time.monotonic() or today.weekday() == 0:
            return nanos
        monday = today - timedelta(days=today.weekday())
        rows = await runtime.reader.rows(WEEK, (key_id, first_id(monday), monday, today))
        if len(self.kept) >= MOST_WEEKS:
            self.kept.clear()
        self.kept[key_id, today] = (time.monotonic() + WEEK_KEPT_S, int(rows[0][0]))
        return int(rows[0][0])


WEEKS = Weeks()


def first_id(day: date) -> str:
    """Return the least id of a request that was made on a UTC day, or shortly before it."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=1)
    milliseconds = int(midnight.timestamp() * 1000)
    return f"{milliseconds:012x}".ljust(32, "0")


async def key(runtime: Runtime, incoming: Incoming) -> None:
    """Serve what the calling key is and what it has used."""
    caller = await _caller(runtime, incoming)
    try:
        rows = await runtime.reader.rows(METER, (caller.workspace.id, caller.key.id))
        meter = msgspec.json.decode(rows[0][0], type=Meter)
        week = await WEEKS.before_today(runtime, key_id=caller.key.id, today=meter.today)
    except (psycopg.Error, OSError) as error:
        raise store_away(error) from error
    await _answer(runtime, incoming, caller, describe_key(caller, meter, week_nanos=week))


async def credits(runtime: Runtime, incoming: Incoming) -> None:
    """Serve what the workspace was given, has used, and has left."""
    caller = await _caller(runtime, incoming)
    if not caller.workspace.scopes & (INFERENCE | {Scope.BILLING_READ}):
        message = f"This key does not have the scope {Scope.BILLING_READ.value!r}."
        raise ApiError("scope_missing", message)
    try:
        rows = await runtime.reader.rows(ACCOUNTS, (caller.workspace.id,))
    except (psycopg.Error, OSError) as error:
        raise store_away(error) from error
    accounts = msgspec.json.decode(rows[0][0], type=list[AccountRow])
    await _answer(runtime, incoming, caller, describe_credits(caller, accounts))


async def _caller(runtime: Runtime, incoming: Incoming) -> Caller:
    return await runtime.doorkeeper.caller(
        headers=incoming.headers, address=incoming.address, scope=None, fresh=True
    )


async def _answer(
    runtime: Runtime, incoming: Incoming, caller: Caller, told: dict[str, Any]
) -> None:
    body = msgspec.json.encode({"data": told})
    headers = await runtime.limiter.peek(caller)
    await incoming.answer(status=200, body=body, headers=headers)


def describe_key(caller: Caller, meter: Meter, *, week_nanos: int) -> dict[str, Any]:
    """Return a key as it is answered; ``limit`` is its tighter cap."""
    daily = meter.spent_of(meter.used_today)
    caps = {
        "daily": (meter.day_cap, meter.used_today),
        "monthly": (meter.month_cap, meter.used_this_month),
    }
    left = {name: max(0, cap - used) for name, (cap, used) in caps.items() if cap is not None}
    reset = min(left, key=lambda name: left[name]) if left else None
    limit = caps[reset][0] if reset else None
    manages = not caller.workspace.scopes & INFERENCE
    return {
        "label": f"{meter.prefix}…{meter.last4}",
        "name": meter.name,
        "id": caller.key.public_id,
        "workspace_id": caller.workspace.public_id,
        "scopes": sorted(caller.workspace.scopes),
        "limit": _number(limit),
        "limit_remaining": _number(left[reset] if reset else None),
        "limit_reset": reset,
        "usage": _number(meter.spent),
        "usage_daily": _number(daily),
        "usage_weekly": _number(week_nanos + daily),
        "usage_monthly": _number(meter.spent_of(meter.used_this_month)),
        # Nobody brings a provider's key of their own here.
        **dict.fromkeys(OWN_KEYS, 0),
        "include_byok_in_limit": False,
        "is_free_tier": meter.never_paid,
        "is_management_key": manages,
        "is_provisioning_key": manages,
        "creator_user_id": None,
        "created_at": meter.created_at,
        "expires_at": meter.expires_at,
        "rate_limit": {
            "requests": caller.rpm,
            "interval": "1m",
            "note": "The key's limits by the minute; null: none of its own.",
            "tokens": caller.key.tpm,
            "streams": caller.key.max_streams,
        },
        "held": money.usd(meter.held),
        "caps": {
            name: None if cap is None else {"limit": money.usd(cap), "remaining": _left(cap, used)}
            for name, (cap, used) in caps.items()
        },
    }


def describe_credits(caller: Caller, accounts: list[AccountRow]) -> dict[str, Any]:
    """Return a workspace's balances: US dollars at the top, platform tokens beside them."""
    dollars, tokens = Standing(), Standing()
    for row in accounts:
        if row.asset in ("USD", "TOK"):
            (dollars if row.asset == "USD" else tokens).add(row)
    return {
        "total_credits": _number(dollars.credits),
        "total_usage": _number(dollars.usage),
        "held": money.usd(dollars.held),
        "available": money.usd(dollars.available),
        "tokens": {
            "total_credits": tokens.credits,
            "total_usage": tokens.usage,
            "held": str(tokens.held),
            "available": str(tokens.available),
        },
        "workspace_id": caller.workspace.public_id,
    }


def _left(cap: int, used: int) -> str:
    return money.usd(max(0, cap - used))


def _number(nanos: int | None) -> Raw | None:
    """Return nano-dollars as an exact JSON number of US dollars."""
    return None if nanos is None else Raw(money.usd(nanos).encode())
