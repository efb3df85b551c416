"""
The rules of money once more, in plain Python, one call after the other.

What SQL does in batches, with arrays and locks, is done here in the simplest way that the
rules allow. `Books.read()` is what the tables say; a model that made the same steps must
be equal to it, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection

from tests.billing.bank import Answer, Item

TOK_NANOS = 2_500_000
MOST = 10**17
LONGEST_S = 604_800
# What a sweep writes of a call that no provider knows, or that nothing came of.
FOUND_NOTHING = ("never_arrived", "no_output")
REVISED = ("source", "cost", "granted", "charged", "uncollected")
TABLES = """
select json_build_object(
    'accounts', (select json_agg(json_build_object(
        'id', id, 'workspace', workspace_id, 'kind', kind, 'asset', asset, 'granted', granted_id,
        'credits', credits_posted, 'debits', debits_posted, 'pending', debits_pending,
        'floor', floor, 'frozen', frozen, 'day', day, 'day_used', day_used,
        'month_used', month_used, 'held', held, 'day_cap', day_cap, 'month_cap', month_cap))
        from billing_account where workspace_id is not null),
    'meters', (select json_agg(json_build_object(
        'id', key_id, 'day', day, 'day_used', day_used, 'month_used', month_used, 'held', held,
        'day_cap', day_cap, 'month_cap', month_cap, 'spent', spent)) from billing_keymeter),
    'keys', (select json_agg(json_build_object('id', id, 'version', version))
        from accounts_apikey where disabled_at is null and deleted_at is null),
    'holds', (select json_agg(json_build_object(
        'id', id, 'account', account_id, 'usd', usd_account_id, 'workspace', workspace_id,
        'key', key_id, 'asset', asset, 'amount', amount, 'granted', granted, 'unit', unit_nanos,
        'day', day)) from billing_hold),
    'usage', (select json_agg(json_build_object(
        'id', id, 'account', account_id, 'workspace', workspace_id, 'key', key_id,
        'asset', asset, 'hold', hold, 'granted', granted, 'charged', charged,
        'uncollected', uncollected, 'cost', cost, 'unit', unit_nanos, 'day', day,
        'state', state, 'unknown', unknown, 'source', source, 'reason', reason))
        from billing_usage),
    'revisions', (select json_agg(to_jsonb(r) - 'at') from billing_revision r),
    'transfers', (select json_agg(json_build_object(
        'kind', t.kind, 'source', t.source, 'asset', t.asset, 'amount', t.amount,
        'debit', case when d.bounded then d.id::text else d.kind || ' ' || d.asset end,
        'credit', case when c.bounded then c.id::text else c.kind || ' ' || c.asset end))
        from billing_transfer t
        join billing_account d on d.id = t.debit_id join billing_account c on c.id = t.credit_id)
)
"""


class Refused(Exception):
    """The ledger refuses to move this money."""


@dataclass(slots=True)
class Window:
    """What is used of the caps: spent and held."""

    id: int
    day: date
    day_used: int
    month_used: int
    held: int
    day_cap: int | None
    month_cap: int | None

    def as_of(self, today: date) -> tuple[int, int]:
        """Return what is used today and this month: another day begins anew."""
        same_month = (self.day.year, self.day.month) == (today.year, today.month)
        newer = self.day > today
        return (
            self.day_used if newer or self.day == today else 0,
            self.month_used if newer or same_month else 0,
        )

    def room(self, today: date) -> int | None:
        """Return what the caps leave, None without any."""
        used = self.as_of(today)
        rooms = [
            cap - spent
            for cap, spent in zip((self.day_cap, self.month_cap), used, strict=True)
            if cap is not None
        ]
        return min(rooms, default=None)

    def take(self, nanos: int, today: date) -> None:
        """Hold an amount today."""
        day_used, month_used = self.as_of(today)
        self.day, self.day_used, self.month_used = today, day_used + nanos, month_used + nanos
        self.held += nanos

    def close(self, *, released: int, spent: int, day: date) -> None:
        """Give back what was held on a day and count what was spent instead."""
        self.held -= released
        if day == self.day:
            self.day_used += spent - released
        if (day.year, day.month) == (self.day.year, self.day.month):
            self.month_used += spent - released


@dataclass(slots=True)
class Account(Window):
    """An account of a customer."""

    workspace: int
    kind: str
    asset: str
    granted: int | None
    credits: int
    debits: int
    pending: int
    floor: int
    frozen: bool

    @property
    def posted(self) -> int:
        """What is there, above the floor."""
        return self.credits - self.debits - self.floor

    @property
    def free(self) -> int:
        """What no call has set aside."""
        return self.posted - self.pending

    @property
    def paid_free(self) -> int:
        """What of it may leave: a floor is credit for calls only."""
        return self.credits - self.debits - self.pending


@dataclass(slots=True)
class Meter(Window):
    """What a key has used."""

    spent: int


@dataclass(slots=True)
class Held:
    """A call in flight."""

    id: str
    account: int
    usd: int
    workspace: int
    key: int
    asset: str
    amount: int
    granted: int
    unit: int
    day: date


@dataclass(slots=True)
class Closed:
    """A call that is over."""

    id: str
    account: int
    workspace: int
    key: int
    asset: str
    hold: int
    unit: int
    day: date
    granted: int = 0
    charged: int = 0
    uncollected: int = 0
    cost: int = 0
    state: str = ""
    unknown: bool = False
    source: str = "none"
    reason: str = ""


@dataclass(slots=True)
class Books:
    """Everything that moves when money moves."""

    accounts: dict[int, Account] = field(default_factory=dict)
    meters: dict[int, Meter] = field(default_factory=dict)
    keys: dict[int, int] = field(default_factory=dict)
    holds: dict[str, Held] = field(default_factory=dict)
    usage: dict[str, Closed] = field(default_factory=dict)
    revisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    transfers: dict[tuple[str, str], tuple[str, str, str, int]] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Books:
        """Return what the tables say."""
        with connection.cursor() as cursor:
            cursor.execute(TABLES)
            tables: dict[str, list[dict[str, Any]] | None] = cursor.fetchone()[0]
        rows = {name: [_dated(row) for row in found or []] for name, found in tables.items()}
        return cls(
            accounts={row["id"]: Account(**row) for row in rows["accounts"]},
            meters={row["id"]: Meter(**row) for row in rows["meters"]},
            keys={row["id"]: row["version"] for row in rows["keys"]},
            holds={row["id"]: Held(**row) for row in rows["holds"]},
            usage={row["id"]: Closed(**row) for row in rows["usage"]},
            revisions={row["id"]: row for row in rows["revisions"]},
            transfers={
                (row["kind"], row["source"]): (
                    row["debit"],
                    row["credit"],
                    row["asset"],
                    row["amount"],
                )
                for row in rows["transfers"]
            },
        )

    def admit(self, items: list[Item], *, now: datetime) -> list[Answer]:
        """Answer a batch of calls that are about to be made."""
        today = now.date()
        seen: list[Window] = [
            self.accounts[id_]
            for item in items
            for id_ in (item["account"], item["usd_account"])
            if id_ in self.accounts
        ]
        seen += [self.meters[item["key"]] for item in items if item["key"] in self.meters]
        if any(window.day == today + timedelta(days=1) for window in seen):
            today += timedelta(days=1)
        return [self._admit(item, today) for item in items]

    def _admit(self, item: Item, today: date) -> Answer:
        if not _askable(item):
            return _answer("bad_item")
        held = self.holds.get(item["id"])
        if held is not None:
            if (held.account, held.key) != (item["account"], item["key"]):
                return _answer("bad_item")
            return _answer("ok", held.amount, held.day)
        account, usd = self.accounts.get(item["account"]), self.accounts.get(item["usd_account"])
        meter = self.meters.get(item["key"])
        if not (account and usd and meter and account.granted and usd.granted):
            return _answer("unknown_account")
        if not _fits(item, account, usd, meter, today):
            return _answer("bad_item")
        if self.keys.get(item["key"]) != item["version"]:
            return _answer("stale")
        if usd.frozen:
            return _answer("frozen")
        return self._hold(item, account, usd, meter, today)

    def _hold(
        self, item: Item, account: Account, usd: Account, meter: Meter, today: date
    ) -> Answer:
        granted = self.accounts[account.granted or 0]
        unit, free = item["unit"], account.free + max(granted.free, 0)
        amount = min(item["want"], free)
        for room in (usd.room(today), meter.room(today)):
            if room is not None:
                amount = min(amount, max(room, 0) // unit)
        if amount < item["need"]:
            reason = self._refusal(item["need"], unit, account, granted, usd, meter, today)
            return _answer(reason, max(amount, 0))
        part = max(min(amount, granted.free), 0)
        granted.pending += part
        account.pending += amount - part
        usd.take(amount * unit, today)
        meter.take(amount * unit, today)
        if account is not usd:
            account.day = today
            account.day_used = account.month_used = 0
        self.holds[item["id"]] = Held(
            item["id"], account.id, usd.id, usd.workspace, meter.id, account.asset,
            amount, part, unit, today,
        )  # fmt: skip
        return _answer("ok", amount, today)

    @staticmethod
    def _refusal(
        need: int,
        unit: int,
        account: Account,
        granted: Account,
        usd: Account,
        meter: Meter,
        today: date,
    ) -> str:
        """Return why: first what no open call can change, then what waits for one."""
        if account.posted + max(granted.posted, 0) < need:
            return "insufficient_balance"
        caps = [
            (name, cap, used, window.held)
            for owner, window in (("ws", usd), ("key", meter))
            for name, cap, used in zip(
                (f"{owner}_day", f"{owner}_month"),
                (window.day_cap, window.month_cap),
                window.as_of(today),
                strict=True,
            )
            if cap is not None
        ]
        for name, cap, used, held in caps:
            if cap - max(used - held, 0) < need * unit:
                return name
        if account.free + max(granted.free, 0) < need:
            return "balance_reserved"
        return next(f"{name}_held" for name, cap, used, _ in caps if cap - used < need * unit)

    def settle(self, items: list[Item]) -> list[Answer]:
        """Close a batch of calls."""
        here: set[str] = set()
        return [self._settle(item, here) for item in items]

    def _settle(self, item: Item, here: set[str]) -> Answer:
        name, state, cost = item["id"], item["state"], item["cost"]
        if not (
            name and cost is not None and 0 <= cost <= MOST
            and (state == "settled" or (state in ("voided", "expired") and cost == 0))
        ):  # fmt: skip
            return _closing("bad_item")
        held, closed = self.holds.get(name), self.usage.get(name)
        if held is not None and closed is None:
            here.add(name)
            return self._close(item, self.holds.pop(name))
        if closed is None:
            return _closing("unknown")
        if closed.state == "expired" and state == "settled" and name not in here:
            return self._close_late(item, closed)
        return _closing("already" if closed.cost == cost else "conflict", closed)

    def _close(self, item: Item, held: Held) -> Answer:
        account = self.accounts[held.account]
        granted = self.accounts[account.granted or 0]
        account.pending -= held.amount - held.granted
        granted.pending -= held.granted
        closed = self.usage[held.id] = Closed(
            held.id, held.account, held.workspace, held.key, held.asset, held.amount,
            held.unit, held.day, state=item["state"], unknown=item.get("unknown", False),
            source=item.get("source") or "none", reason=item.get("reason") or "",
        )  # fmt: skip
        self._charge(
            closed,
            item["cost"],
            released=held.amount * held.unit,
            bounds=(min(held.granted, max(granted.posted, 0)), max(account.posted, 0)),
        )
        return _closing("ok", closed)

    def _close_late(self, item: Item, closed: Closed) -> Answer:
        account = self.accounts[closed.account]
        granted = self.accounts[account.granted or 0]
        self._rewrite(closed, item)
        bounds = (max(granted.free, 0), max(account.free, 0))
        self._charge(closed, item["cost"], released=0, bounds=bounds)
        return _closing("late", closed)

    def _charge(self, closed: Closed, cost: int, *, released: int, bounds: tuple[int, int]) -> None:
        account = self.accounts[closed.account]
        granted = self.accounts[account.granted or 0]
        usd = next(
            each
            for each in self.accounts.values()
            if (each.workspace, each.kind, each.asset) == (closed.workspace, "paid", "USD")
        )
        meter = self.meters[closed.key]
        charge = -(-cost // closed.unit)
        closed.cost = cost
        closed.granted = min(charge, closed.hold, bounds[0])
        from_paid = min(min(charge, closed.hold) - closed.granted, bounds[1])
        closed.charged = closed.granted + from_paid
        closed.uncollected = charge - closed.charged
        granted.debits += closed.granted
        account.debits += from_paid
        spent = min(cost, closed.charged * closed.unit)
        usd.close(released=released, spent=spent, day=closed.day)
        meter.close(released=released, spent=spent, day=closed.day)
        meter.spent += spent
        revenue = f"revenue {closed.asset}"
        for kind, debit, amount in (
            ("usage.granted", str(granted.id), closed.granted),
            ("usage.paid", str(account.id), from_paid),
            ("usage.uncollected", f"uncollected_usage {closed.asset}", closed.uncollected),
        ):
            if amount:
                self.transfers[kind, closed.id] = (debit, revenue, closed.asset, amount)

    @staticmethod
    def _rewrite(closed: Closed, item: Item) -> None:
        closed.state, closed.unknown = "late", item.get("unknown", False)
        closed.source = item.get("source") or "none"
        closed.reason = closed.reason if item.get("reason") is None else item["reason"]

    def revise(self, item: Item) -> Answer:
        """Put evidence in the place of a guess."""
        name, state, cost = item["id"], item["state"], item["cost"]
        if not (
            name and item.get("day") and cost is not None and 0 <= cost <= MOST
            and (state == "settled" or (state == "voided" and cost == 0))
        ):  # fmt: skip
            return {"v": "bad_item", "charged": 0, "uncollected": 0}
        closed = self.usage.get(name)
        if closed is None or closed.day.isoformat() != item["day"]:
            return {"v": "unknown", "charged": 0, "uncollected": 0}
        if not _gives_way(closed, state, item.get("source")):
            return _closing("already" if closed.cost == cost else "conflict", closed)
        before = replace(closed)
        account = self.accounts[closed.account]
        granted = self.accounts[account.granted or 0]
        difference = -(-cost // closed.unit) - closed.charged - closed.uncollected
        if difference > 0:
            room = min(difference, closed.hold - closed.charged)
            # Made again under its Idempotency-Key, which is charged once.
            room = 0 if closed.reason == "repeated" else room
            gift = min(room, max(granted.free, 0))
            paid = min(room - gift, max(account.free, 0))
            loss = difference - gift - paid
        else:
            loss = -min(-difference, closed.uncollected)
            paid = -min(loss - difference, closed.charged - closed.granted)
            gift = difference - loss - paid
        self._correct(closed, cost, gift=gift, paid=paid, loss=loss)
        self._rewrite(closed, item)
        closed.reason = "repeated" if before.reason == "repeated" else closed.reason
        new = {key: getattr(closed, key) for key in REVISED}
        old = {f"old_{key}": getattr(before, key) for key in ("state", *REVISED)}
        self.revisions[name] = new | old | {
            "id": name, "day": closed.day, "workspace_id": closed.workspace,
            "asset": closed.asset, "unit_nanos": closed.unit,
        }  # fmt: skip
        return _closing("corrected", closed) | {"returned": max(-gift, 0)}

    def repeat(self, name: str, day: date) -> None:
        """Let a call that a sweep found nothing of be made again."""
        closed = self.usage.get(name)
        if closed and (closed.day, closed.state) == (day, "voided"):
            closed.reason = "repeated" if closed.reason in FOUND_NOTHING else closed.reason

    def _correct(self, closed: Closed, cost: int, *, gift: int, paid: int, loss: int) -> None:
        account = self.accounts[closed.account]
        granted = self.accounts[account.granted or 0]
        spent = -min(closed.cost, closed.charged * closed.unit)
        closed.cost = cost
        closed.granted += gift
        closed.charged += gift + paid
        closed.uncollected += loss
        spent += min(cost, closed.charged * closed.unit)
        for owner, units in ((granted, gift), (account, paid)):
            owner.debits += max(units, 0)
            owner.credits += max(-units, 0)
        usd = next(
            each
            for each in self.accounts.values()
            if (each.workspace, each.kind, each.asset) == (closed.workspace, "paid", "USD")
        )
        meter = self.meters[closed.key]
        for window in (usd, meter):
            window.close(released=0, spent=spent, day=closed.day)
        meter.spent += spent
        revenue = f"revenue {closed.asset}"
        for leg, name, units in (
            ("granted", str(granted.id), gift),
            ("paid", str(account.id), paid),
            ("uncollected", f"uncollected_usage {closed.asset}", loss),
        ):
            if units > 0:
                key = (f"usage.further.{leg}", closed.id)
                self.transfers[key] = (name, revenue, closed.asset, units)
            elif units:
                key = (f"usage.refund.{leg}", closed.id)
                self.transfers[key] = (revenue, name, closed.asset, -units)

    def post(self, *legs: tuple[str, str, str, str, str, int]) -> list[bool]:
        """
        Move other money: kind, source, debit, credit, asset, amount; all or nothing.

        :raises Refused: a customer's account would fall below what its calls leave
        """
        new = []
        for kind, source, debit, credit, asset, amount in legs:
            new.append((kind, source) not in self.transfers)
            if not new[-1]:
                continue
            self.transfers[kind, source] = (debit, credit, asset, amount)
            if credit.isdigit():
                self.accounts[int(credit)].credits += amount
            if debit.isdigit():
                self.accounts[int(debit)].debits += amount
        debited = [leg[2] for leg, fresh in zip(legs, new, strict=True) if fresh]
        if any(name.isdigit() and self.accounts[int(name)].paid_free < 0 for name in debited):
            raise Refused
        return new


def _gives_way(closed: Closed, state: str, source: str | None) -> bool:
    """Return whether a sweep wrote what evidence of this kind is better than."""
    if state == "voided":
        return closed.state == "expired"
    swept = closed.reason == "swept"
    if source == "count":
        return swept and closed.source == "checkpoint"
    nothing_found = closed.state == "voided" and closed.reason in (*FOUND_NOTHING, "repeated")
    guessed = swept and closed.source in ("checkpoint", "count")
    return source in ("provider", "lookup") and (guessed or nothing_found)


def _dated(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"day": date.fromisoformat(row["day"])} if "day" in row else row


def _askable(item: Item) -> bool:
    numbers = ("id", "workspace", "version", "process", "model", "account", "usd_account", "key")
    sizes = ("want", "need", "unit", "ttl")
    return (
        all(item.get(name) is not None for name in (*numbers, *sizes))
        and 1 <= item["need"] <= item["want"]
        and item["unit"] >= 1
        and item["want"] <= MOST // item["unit"]
        and 1 <= item["ttl"] <= LONGEST_S
    )


def _fits(item: Item, account: Account, usd: Account, meter: Meter, today: date) -> bool:
    return (
        account.workspace == usd.workspace == item["workspace"]
        and usd.asset == "USD"
        and max(usd.day, meter.day) <= today
        and (item["unit"] == 1 if account is usd else account.asset != "USD")
    )


def _answer(verdict: str, granted: int = 0, day: date | None = None) -> Answer:
    return {"v": verdict, "granted": granted, "day": day and day.isoformat()}


def _closing(verdict: str, closed: Closed | None = None) -> Answer:
    if closed is None:
        return {"v": verdict, "charged": 0, "uncollected": 0, "day": None}
    return {
        "v": verdict,
        "charged": closed.charged,
        "uncollected": closed.uncollected,
        "day": closed.day.isoformat(),
    }
