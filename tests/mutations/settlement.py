"""What billing_settle and its companions must do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection

from billing import ledger
from billing.models import Account, Hold, KeyMeter, Usage
from common import ids
from tests.billing import bank
from tests.billing.bank import bill
from tests.billing.model import MOST, TOK_NANOS
from tests.billing.twin import Twin
from tests.mutations.steps import (
    Scenario,
    rolled_back_twin,
)


def charges_on_every_bound(t: Twin) -> None:
    """Nothing, one unit, the split, the hold, one more; in dollars and in tokens."""
    a, b, _ = t.customers
    for cost in (0, 1, 10, 11, 30, 31):
        holds = [t.hold(a, 10), t.hold(a, 30), t.hold(b, 30)]
        assert t.settle(*[bill(hold, cost) for hold in holds]) == ["ok"] * 3
    split = t.free(a) - t.model.accounts[a.usd].free + 10
    for cost in (split - 10, split - 9, split, split + 1):
        with rolled_back_twin(t):
            assert t.bill(t.hold(a, split), cost) == "ok"
    for cost in (1, TOK_NANOS, TOK_NANOS + 1, 5 * TOK_NANOS, 6 * TOK_NANOS + 1, 8 * TOK_NANOS):
        with rolled_back_twin(t):
            holds = [
                t.hold(a, 2, tokens=True),
                t.hold(a, 6, tokens=True),
                t.hold(b, 3, tokens=True),
            ]
            assert t.settle(*[bill(hold, cost) for hold in holds]) == ["ok"] * 3


def a_call_closes_once(t: Twin) -> None:
    """The same again is already done, another cost a conflict, whatever closed it."""
    a, b, _ = t.customers
    one, two, three, four = (t.hold(b, 100) for _ in range(4))
    day = t.now.date().isoformat()
    assert t.settle(bill(one, 60), bill(one, 60), bill(one, 61)) == ["ok", "already", "conflict"]
    assert t.settle(bill(one, 60, day=day), bill(one, 61, day=day)) == ["already", "conflict"]
    assert t.settle(bill(one, 60), bill(two, 7), bill(two, 7)) == ["already", "ok", "already"]
    assert t.void(three) == ["ok"]
    assert t.void(three) == ["already"]
    assert t.settle(bill(three, 0), bill(three, 5)) == ["already", "conflict"]
    assert t.expire(four) == ["ok"]
    assert t.expire(four) == t.void(four) == ["already"]
    assert t.settle(bill(four, 0), bill(four, 0), bill(four, 5)) == ["late", "already", "conflict"]
    assert t.bill(str(ids.request_id()), 5) == "unknown"
    assert t.settle(bill(str(ids.request_id()), 5), bill(one, 60), bill(t.hold(a, 5), 5)) == [
        "unknown", "already", "ok",
    ]  # fmt: skip
    assert t.settle() == []
    assert t.void() == t.expire() == []


def bills_that_make_no_sense(t: Twin) -> None:
    """They leave the call open and their neighbours alone."""
    a, _, _ = t.customers
    one, two = t.hold(a, 100), t.hold(a, 5)
    for change in ({"cost": -1}, {"cost": MOST + 1}, {"cost": None}, {"state": "voided"},
                   {"state": "expired"}, {"state": "late"}, {"id": None}, {"state": None},
                   {"state": "free", "cost": 0}):  # fmt: skip
        assert t.settle(bill(one, 5) | change) == ["bad_item"], change
    assert t.settle(bill(one, -1), bill(two, 5)) == ["bad_item", "ok"]
    assert t.bill(one, MOST) == "ok"
    assert Account.objects.filter(kind="uncollected_usage").count() == 1


def days_of_bills(t: Twin) -> None:
    """A bill may say the day of its call; a batch spans days; without a day all are asked."""
    a, _, _ = t.customers
    noon = t.now
    first = t.hold(a, 10)
    second = t.hold(a, 10)
    t.set_clock(noon + timedelta(days=1))
    third = t.hold(a, 10)
    days = [noon.date().isoformat(), (noon + timedelta(days=1)).date().isoformat()]
    batch = [bill(first, 1, day=days[0]), bill(second, 2, day=days[0]), bill(third, 3, day=days[1])]
    assert t.settle(*batch) == ["ok"] * 3
    assert t.settle(*batch) == ["already"] * 3
    assert t.settle(*reversed(batch)) == ["already"] * 3
    assert t.settle(batch[0], batch[1]) == ["already"] * 2
    assert t.settle(batch[0] | {"day": None}, batch[2]) == ["already"] * 2
    assert t.settle(batch[0], batch[2] | {"day": None}) == ["already"] * 2
    assert bank.verdicts(bank.settle(batch[0] | {"day": days[1]})) == ["unknown"]
    assert bank.verdicts(bank.settle(batch[2] | {"day": days[0]})) == ["unknown"]
    old = t.hold(a, 5)
    t.expire(old)
    assert bank.verdicts(bank.settle(bill(old, 1, day=days[0]))) == ["unknown"]
    assert t.settle(bill(old, 1, day=days[1]), batch[0]) == ["late", "already"]
    for _ in range(2):
        lone = t.hold(a, 5)
        t.expire(lone)
        assert t.settle(bill(lone, 1, day=days[1])) == ["late"]


def evidence_comes_late(t: Twin) -> None:
    """It takes what no other call has set aside, granted first; the rest is our loss."""
    a, b, _ = t.customers
    names = [t.hold(a, amount) for amount in (290, 200, 100, 50)]
    tokens = [t.hold(a, 6, tokens=True), t.hold(a, 4, tokens=True), t.hold(a, 2, tokens=True)]
    t.expire(*names[:3], *tokens[:2])
    t.hold(a, 305)
    assert t.settle(bill(names[0], 289), bill(names[1], 201)) == ["late", "late"]
    assert t.bill(names[2], 90, unknown=True) == "late"
    assert t.bill(names[2], 90) == "already"
    assert t.settle(bill(tokens[0], 5 * TOK_NANOS + 1), bill(tokens[1], 99 * TOK_NANOS)) == [
        "late", "late",
    ]  # fmt: skip
    # An expired call that is closed without a charge, and by the sweep once more.
    poor = t.hold(a, t.free(a))
    t.expire(poor)
    t.refund(a, t.model.accounts[a.usd].free)
    t.void(names[3])
    assert t.bill(poor, 700) == "late"
    # Late and open calls of both customers in one batch, each on its own dollar account.
    open_a, open_b, late_b = t.hold(a, 1, tokens=True), t.hold(b, 9), t.hold(b, 1, tokens=True)
    t.expire(late_b)
    assert t.settle(bill(late_b, 3), bill(open_b, 8), bill(open_a, 7)) == ["late", "ok", "ok"]


def late_when_everything_is_set_aside(t: Twin) -> None:
    """Open calls keep what they hold, granted and paid; the late one is lost to the unit."""
    a, _, _ = t.customers
    late = t.hold(a, 400)
    t.expire(late)
    t.hold(a, 200)
    t.hold(a, t.free(a) - 30)
    with rolled_back_twin(t):
        assert t.bill(late, 31) == "late"
    t.pay(a, 50, granted=True)
    with rolled_back_twin(t):
        assert t.bill(late, 90) == "late"
    t.hold(a, 10)
    assert t.bill(late, 79) == "late"


def late_across_midnight(t: Twin) -> None:
    """A late charge counts in the windows of the call's own day and month."""
    a, b, _ = t.customers
    noon = t.now
    one, two, three = t.hold(a, 20), t.hold(b, 30), t.hold(a, 2, tokens=True)
    t.expire(one, three)
    t.set_clock(noon + timedelta(days=1))
    t.hold(a, 5)
    t.hold(b, 5)
    assert t.settle(bill(one, 20), bill(two, 30), bill(three, 3)) == ["late", "ok", "late"]
    four, five, six = t.hold(a, 20), t.hold(b, 30), t.hold(b, 10)
    t.expire(four)
    t.set_clock((noon.replace(day=1) + timedelta(days=31)).replace(day=15))
    t.hold(a, 5)
    t.hold(b, 5)
    assert t.settle(bill(four, 20), bill(five, 30)) == ["late", "ok"]
    t.void(six)


def midnight_moves_no_money(t: Twin) -> None:
    """A key and a workspace may be in different windows when a call of both ends."""
    a, b, _ = t.customers
    noon = t.now
    one, two = t.hold(a, 20), t.hold(a, 30)
    t.set_clock(noon + timedelta(days=1))
    t.hold(b, 1, account=b.usd)
    # The key of a is used in the workspace of b: only the key's window turns.
    assert t.admit(b.ask(4, key=a.key.pk, version=a.key.version)) == ["ok"]
    t.bill(one, 7)
    t.set_clock(noon + timedelta(days=31))
    assert t.admit(a.ask(4, key=b.key.pk, version=b.key.version)) == ["ok"]
    t.bill(two, 9)


def a_charge_stops_at_the_floor(t: Twin) -> None:
    """A floor below zero is used up to the unit, in both accounts, by late calls too."""
    a, _, _ = t.customers
    t.change(a.usd, floor=-40)
    t.change(t.granted(a).id, floor=-20)
    t.bill(t.hold(a, 15), 15)
    one, two, three = t.hold(a, 310), t.hold(a, 900), t.hold(a, t.free(a))
    for careful in (False, True):
        with rolled_back_twin(t):
            batch = [bill(one, 310), bill(two, 900), bill(three, 200)]
            assert t.settle(*batch, careful=careful) == ["ok"] * 3
        with rolled_back_twin(t):
            t.expire(one, two, three)
            batch = [bill(one, 310), bill(two, 900), bill(three, 200)]
            assert t.settle(*batch, careful=careful) == ["late"] * 3
            assert t.free(a) == 0


def a_call_that_closes_makes_room(t: Twin) -> None:
    """A late call has what earlier items of its batch gave back, granted and paid."""
    a, _, _ = t.customers
    late = t.hold(a, 1300)
    t.expire(late)
    split, paid = t.hold(a, 310), t.hold(a, 980)
    for cost in (0, 5, 305):
        with rolled_back_twin(t):
            assert t.settle(bill(split, cost), bill(late, 1300)) == ["ok", "late"]
        with rolled_back_twin(t):
            assert t.settle(bill(paid, cost), bill(late, 1300)) == ["ok", "late"]
        with rolled_back_twin(t):
            batch = [bill(split, cost), bill(late, 1299), bill(late, 1299), bill(paid, 3)]
            assert t.settle(*batch) == ["ok", "late", "already", "ok"]


def a_floor_raised_above_the_balance(t: Twin) -> None:
    """A charge stops at the floor; what is missing is our loss, never a failure."""
    a, _, _ = t.customers
    one, two, three = t.hold(a, 350), t.hold(a, 400), t.hold(a, 100)
    t.expire(three)
    for account in (a.usd, t.granted(a).id):
        t.change(account, floor=-1000)
    t.post(
        ("out", a.usd, "clearing:test USD", 900), ("fee", t.granted(a).id, "clearing:test USD", 150)
    )
    t.change(a.usd, floor=0)
    t.change(t.granted(a).id, floor=0)
    assert t.settle(bill(one, 345), bill(three, 50), bill(two, 400)) == ["ok", "late", "ok"]


def the_usage_row_keeps_every_fact(t: Twin) -> None:
    """What the gateway tells is written down, at once and late; what is missing is nothing."""
    a, _, _ = t.customers
    facts: dict[str, Any] = {
        "served": "sandbox/lorem", "provider": "sandbox", "surface": "chat", "stream": True,
        "cancelled": True, "status": 201, "reason": "stop", "input_tokens": 10,
        "cached_tokens": 2, "cache_write_tokens": 3, "output_tokens": 4,
        "reasoning_tokens": 1, "pictures": 1, "picture_size": "1x1", "picture_quality": "low",
        "searches": 2, "first_byte_ms": 12, "latency_ms": 30, "upstream_cost": 400,
        "source": "lookup", "unknown": True, "price_id": 8,
    }  # fmt: skip
    one, two, three = (t.hold(a, 30, price=7) for _ in range(3))
    created = t.now
    t.expire(two, three)
    t.set_clock(created + timedelta(seconds=5))
    assert t.settle(bill(one, 5, **facts), bill(two, 6, **facts)) == ["ok", "late"]
    assert t.settle(bill(three, 7, source=None)) == ["late"]
    for name, cost in ((one, 5), (two, 6)):
        row = Usage.objects.get(pk=name)
        assert {key: getattr(row, key) for key in facts} == facts
        assert (row.cost, row.created_at, row.closed_at) == (cost, created, t.now)
    bare = Usage.objects.get(pk=three)
    assert (bare.price_id, bare.model, bare.source, bare.unknown) == (
        7,
        "sandbox/echo",
        "none",
        False,
    )
    assert (bare.input_tokens, bare.stream, bare.status, bare.upstream_cost) == (0, False, None, 0)


def the_ledger_notes_when(t: Twin) -> None:
    """Transfers are dated by the clock of money."""
    a, _, _ = t.customers
    t.bill(t.hold(a, 30), 5)
    t.pay(a, 5)
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from billing_transfer where at = %s", [t.now])
        assert cursor.fetchone() == (2,)


def a_hold_of_a_closed_id(t: Twin) -> None:
    """An admission that the server finished after the call was closed is given back."""
    a, _, _ = t.customers
    item = a.ask(30)
    t.admit(item)
    t.void(item["id"])
    assert not Account.objects.filter(kind="revenue").exists()
    before = t.model.accounts[a.usd]
    assert bank.verdicts(bank.admit(item)) == ["ok"]
    assert bank.void(item["id"]) == ["ok"]
    assert type(t.model).read().accounts[a.usd] == before
    assert Usage.objects.filter(pk=item["id"]).count() == 1
    t.part()


def drift_stops_no_settlement(t: Twin) -> None:
    """A counter that had drifted below its holds ends at nothing, not below it."""
    a, _, _ = t.customers
    one, two = t.hold(a, 310), t.hold(a, 50)
    granted = t.granted(a).id
    Account.objects.filter(pk__in=[a.usd, granted]).update(debits_pending=1)
    Account.objects.filter(pk=a.usd).update(held=1, day_used=1, month_used=1)
    KeyMeter.objects.filter(pk=a.key.pk).update(held=1, day_used=1, month_used=1)
    assert bank.verdicts(bank.settle(bill(one, 0), bill(two, 0))) == ["ok", "ok"]
    for row in Account.objects.filter(pk__in=[a.usd, granted]):
        assert row.debits_pending == row.held == 0
    meter = KeyMeter.objects.get(pk=a.key.pk)
    home = Account.objects.get(pk=a.usd)
    assert meter.held == meter.day_used == meter.month_used == 0
    assert home.held == home.day_used == home.month_used == 0
    t.part()


def holds_get_more_time(t: Twin) -> None:
    """An extension never shortens, names what still holds, and waits for nobody."""
    a, _, _ = t.customers
    one, two = t.hold(a, 5, ttl=100), t.hold(a, 5, ttl=100)
    assert bank.run_django(ledger.EXTEND, [[one], 50]) == [UUID(one)]
    assert Hold.objects.get(pk=one).expires_at == t.now + timedelta(seconds=100)
    assert bank.run_django(ledger.EXTEND, [[one, str(ids.request_id())], 500]) == [UUID(one)]
    times = dict(Hold.objects.values_list("id", "expires_at"))
    assert times[UUID(one)] == t.now + timedelta(seconds=500)
    assert times[UUID(two)] == t.now + timedelta(seconds=100)
    assert bank.run_django(ledger.EXTEND, [[], 500]) == []
    row = f"id = '{Hold.objects.get(workspace_id=t.customers[2].workspace.pk).pk}'"
    name = row[6:-1]
    with bank.connect() as other, other.transaction():
        other.execute(f"select from billing_hold where {row} for update")
        assert bank.run_django(ledger.EXTEND, [[name, one], 600]) == [UUID(one)]
    assert bank.run_django(ledger.EXTEND, [[name], 600]) == [UUID(name)]
    with bank.connect() as other:
        other.execute(f"select from billing_hold where {row} for key share nowait")


SETTLEMENT: Final[tuple[Scenario, ...]] = (
    a_call_closes_once, evidence_comes_late, the_usage_row_keeps_every_fact,
    charges_on_every_bound, late_when_everything_is_set_aside, late_across_midnight,
    midnight_moves_no_money, bills_that_make_no_sense, days_of_bills,
    a_floor_raised_above_the_balance, a_charge_stops_at_the_floor,
    a_call_that_closes_makes_room, a_hold_of_a_closed_id, drift_stops_no_settlement,
    the_ledger_notes_when,
)  # fmt: skip
