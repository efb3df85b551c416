"""What billing_admit must do."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import combinations, pairwise
from typing import Final

from django.db import connection

from billing.models import Hold, KeyMeter
from common import ids
from tests.billing import bank
from tests.billing.model import MOST, TOK_NANOS
from tests.billing.twin import CAPS, Twin
from tests.mutations.steps import (
    Scenario,
    rolled_back,
)


def exactly_what_is_left(t: Twin) -> None:
    """One unit more than there is, then all of it, then one more."""
    a, b, _ = t.customers
    left = t.free(b)
    assert t.admit(b.ask(left + 1)) == ["insufficient_balance"]
    assert t.admit(b.ask(left), b.ask(1)) == ["ok", "balance_reserved"]
    assert t.admit(a.ask(1301), a.ask(1300)) == ["insufficient_balance", "ok"]
    assert t.admit(a.ask(1), a.ask(5, tokens=True)) == ["balance_reserved", "ok"]


def a_grant_is_split_at_the_boundary(t: Twin) -> None:
    """What is granted is set aside first, to the unit."""
    a, _, _ = t.customers
    assert t.admit(a.ask(299), a.ask(1), a.ask(1), a.ask(2)) == ["ok"] * 4
    t.hold(a, 3, tokens=True)
    t.hold(a, 3, tokens=True)
    assert [t.model.holds[name].granted for name in t.known] == [299, 1, 0, 0, 3, 2]
    t.void(*t.known)
    assert t.admit(a.ask(310), a.ask(990), a.ask(1)) == ["ok", "ok", "balance_reserved"]


def want_and_need(t: Twin) -> None:
    """Between the two the grant is what there is."""
    a, b, _ = t.customers
    assert t.admit(a.ask(5000, need=1301), a.ask(5000, need=1300)) == ["insufficient_balance", "ok"]
    assert t.admit(a.ask(7, need=2), b.ask(3, need=1)) == ["balance_reserved", "ok"]
    assert t.admit(b.ask(50, need=3, tokens=True)) == ["ok"]


def every_cap(t: Twin) -> None:
    """Exactly a cap, one more, held and spent, lowered below what is spent."""
    _, b, _ = t.customers
    for cap in CAPS:
        t.cap(b, cap, t.used(b, cap) + 1000)
        assert t.admit(b.ask(1001)) == [cap]
        hold = t.hold(b, 600)
        assert t.admit(b.ask(401), b.ask(401, need=400)) == [f"{cap}_held", "ok"]
        assert t.admit(b.ask(1)) == [f"{cap}_held"]
        t.bill(hold, 600)
        assert t.admit(b.ask(601)) == [cap]
        t.void(*list(t.model.holds))
        assert t.admit(b.ask(401), b.ask(400)) == [cap, "ok"]
        t.void(*list(t.model.holds))
        t.cap(b, cap, t.used(b, cap) - 1)
        assert t.admit(b.ask(1)) == [cap]
        t.cap(b, cap, t.used(b, cap))
        assert t.admit(b.ask(1)) == [cap]
        t.cap(b, cap, None)


def caps_together(t: Twin) -> None:
    """The smallest room of the four counts, in a batch and for both assets."""
    _, b, _ = t.customers
    rooms = [4000, 3000, 2000, 1000]
    for cap, room in zip(CAPS, rooms, strict=True):
        t.cap(b, cap, room)
    for cap, room in zip(reversed(CAPS), reversed(rooms), strict=True):
        assert t.admit(b.ask(9000, need=room + 1), b.ask(9000, need=1)) == [cap, "ok"]
        t.void(*list(t.model.holds))
        t.cap(b, cap, None)
    for cap in CAPS:
        t.cap(b, cap, 2 * TOK_NANOS + 5)
        verdicts = t.admit(b.ask(6), b.ask(1, tokens=True), b.ask(1, tokens=True))
        assert verdicts == ["ok", "ok", f"{cap}_held"]
        t.void(*list(t.model.holds))
        assert t.admit(b.ask(5), b.ask(2, tokens=True), b.ask(1)) == ["ok", "ok", f"{cap}_held"]
        t.void(*list(t.model.holds))
        t.cap(b, cap, None)


def reasons_in_their_order(t: Twin) -> None:
    """First what no open call can change, then what waits for one."""
    a, b, _ = t.customers
    for first, second in pairwise(CAPS):
        t.cap(b, first, 10)
        t.cap(b, second, 10)
        assert t.admit(b.ask(11)) == [first]
        hold = t.hold(b, 10)
        assert t.admit(b.ask(1)) == [f"{first}_held"]
        t.void(hold)
        t.cap(b, first, None)
    t.cap(b, "key_month", None)
    for first, second in combinations(CAPS, 2):
        t.cap(b, first, 11)
        t.cap(b, second, 10)
        assert t.admit(b.ask(11)) == [second]
        t.hold(b, 3)
        assert t.admit(b.ask(8)) == [f"{second}_held"]
        t.void(t.known[-2])
        t.cap(b, first, None)
        t.cap(b, second, None)
    for cap in CAPS:
        t.cap(b, cap, t.free(b) - 1)
        hold = t.hold(b, 7)
        assert t.admit(b.ask(t.free(b))) == [f"{cap}_held"]
        t.void(hold)
        t.cap(b, cap, None)
    for cap in CAPS:
        left = t.free(b)
        t.cap(b, cap, left)
        hold = t.hold(b, 7)
        assert t.admit(b.ask(left)) == ["balance_reserved"]
        t.void(hold)
        t.cap(b, cap, None)
    t.cap(a, "key_month", 1000)
    assert t.admit(a.ask(1301)) == ["insufficient_balance"]
    t.hold(a, 900)
    assert t.admit(a.ask(500)) == ["balance_reserved"]
    assert t.admit(a.ask(1001)) == ["key_month"]


def credit_below_zero(t: Twin) -> None:
    """A floor is credit for calls, to the unit; what was lent to a call is never paid out."""
    _, b, _ = t.customers
    t.change(b.usd, floor=-50)
    left = t.free(b)
    assert t.admit(b.ask(left + 1), b.ask(left)) == ["insufficient_balance", "ok"]
    t.bill(t.known[-1], left)
    assert t.free(b) == 0
    t.pay(b, 7)
    assert t.refund(b, 1) is False
    t.pay(b, 50)
    assert t.refund(b, 8) is False
    assert t.refund(b, 7) is True
    assert t.free(b) == 50


def credit_in_both_accounts(t: Twin) -> None:
    """Floors of both accounts count, in what is there and in what no call holds."""
    a, _, _ = t.customers
    t.change(a.usd, floor=-40)
    t.change(t.granted(a).id, floor=-20)
    t.bill(t.hold(a, 310), 250)
    for careful in (False, True):
        left = t.free(a)
        assert t.admit(a.ask(left + 1), careful=careful) == ["insufficient_balance"]
        hold = t.hold(a, 17)
        assert t.admit(a.ask(left), careful=careful) == ["balance_reserved"]
        assert t.admit(a.ask(left - 17), careful=careful) == ["ok"]
        t.void(hold, t.known[-1])
    t.bill(t.hold(a, 17), 17)
    assert t.admit(a.ask(t.free(a)), careful=True) == ["ok"]


def answers_are_given_again(t: Twin) -> None:
    """An id that holds gets its first answer, whatever is free or capped by now."""
    a, b, _ = t.customers
    item = a.ask(5000, need=10)
    assert t.admit(item) == t.admit(item) == ["ok"]
    assert t.admit(b.ask(10, id=item["id"])) == ["bad_item"]
    assert t.admit(item | {"key": b.key.pk}) == ["bad_item"]
    t.cap(a, "ws_day", 0)
    assert t.admit(item, b.ask(1)) == ["ok", "ok"]
    t.void(item["id"])
    twice = b.ask(400)
    assert t.admit(twice, twice, a.ask(1, id=twice["id"])) == ["ok", "ok", "bad_item"]
    assert t.admit(item) == ["ws_day"]


def items_that_make_no_sense(t: Twin) -> None:
    """Each field is asked for, each bound counts."""
    a, b, _ = t.customers
    house = t.clearing
    for name in (
        "id",
        "account",
        "usd_account",
        "workspace",
        "key",
        "version",
        "want",
        "need",
        "unit",
        "ttl",
        "process",
        "model",
    ):
        assert t.admit(a.ask(1) | {name: None}, a.ask(1)) == ["bad_item", "ok"]
    for change in (
        {"need": 0},
        {"need": 2, "want": 1},
        {"unit": 0},
        {"ttl": 0},
        {"ttl": 604_801},
        {"want": MOST + 1},
        {"workspace": b.workspace.pk},
        {"unit": 2},
        {"usd_account": b.usd},
        {"usd_account": a.tok},
        {"account": b.usd},
        {"account": b.usd, "unit": 3},
        {"account": a.tok, "usd_account": a.tok},
        {"account": b.tok, "unit": 5},
    ):
        assert t.admit(a.ask(1) | change) == ["bad_item"], change
    for change in ({"ttl": 1}, {"ttl": 604_800}, {"want": MOST, "need": 1}):
        assert t.admit(b.ask(1) | change) == ["ok"], change
        t.void(*list(t.model.holds))
    most_tokens = MOST // TOK_NANOS
    assert t.admit(a.ask(most_tokens + 1, 1, tokens=True)) == ["bad_item"]
    assert t.admit(a.ask(most_tokens, 1, tokens=True)) == ["ok"]
    # A wish whose worth in nano-dollars no bigint holds must not fail its neighbours.
    assert t.admit(a.ask(4, 1, unit=2**62, tokens=True), b.ask(1)) == ["bad_item", "ok"]
    for change in (
        {"account": -1},
        {"usd_account": -1},
        {"key": -1},
        {"account": house},
        {"usd_account": house},
        {"account": t.granted(a).id},
    ):
        for careful in (False, True):
            verdicts = t.admit(a.ask(1) | change, careful=careful)
            assert verdicts == ["unknown_account"], change
    assert t.admit() == []


def keys_and_freezing(t: Twin) -> None:
    """A key counts at its version and while it is in use; a frozen workspace asks in vain."""
    a, b, _ = t.customers
    version = a.key.version
    assert t.admit(a.ask(1, version=version + 1), a.ask(1)) == ["stale", "ok"]
    newer = t.edit_key(a, "name", "new")
    assert t.admit(a.ask(1), a.ask(1, version=newer)) == ["stale", "ok"]
    a_again = partial(a.ask, version=newer)
    for column in ("disabled_at", "expires_at", "deleted_at"):
        with rolled_back():
            version = t.edit_key(b, column, t.now)
            [answer] = bank.admit(b.ask(1, version=version))
            assert answer["v"] == "stale", column
    version = t.edit_key(b, "expires_at", t.now + timedelta(microseconds=1))
    assert t.admit(b.ask(1, version=version)) == ["ok"]
    t.change(a.usd, frozen=True)
    calls = (a_again(1), b.ask(1, version=version), a_again(1, tokens=True))
    assert t.admit(*calls) == ["frozen", "ok", "frozen"]
    t.change(a.usd, frozen=False)
    t.change(a.tok, frozen=True)
    assert t.admit(a_again(1, tokens=True)) == ["ok"]


def holds_say_what_they_are(t: Twin) -> None:
    """Each fact of a hold, its time, and the key's last use."""
    a, b, _ = t.customers
    item = a.ask(5, ttl=77, process=3, model="sandbox/lorem", price=9, legs="here")
    item |= {"surface": "chat", "stream": True}
    assert t.admit(item, b.ask(9, ttl=78, price=None)) == ["ok", "ok"]
    first, second = Hold.objects.filter(pk__in=t.known).order_by("amount")
    assert (first.process_id, first.model, first.price_id) == (3, "sandbox/lorem", 9)
    assert (first.legs, second.legs) == ("here", "")
    assert (first.surface, second.surface) == ("chat", "")
    assert (first.stream, second.stream) == (True, False)
    assert (first.created_at, first.expires_at) == (t.now, t.now + timedelta(seconds=77))
    assert (second.price_id, second.expires_at) == (None, t.now + timedelta(seconds=78))
    assert KeyMeter.objects.get(pk=a.key.pk).last_used_at == t.now
    assert t.admit(a.ask(9999)) == ["insufficient_balance"]


def windows_turn(t: Twin) -> None:
    """A day begins anew and keeps its month; a month begins anew; no window turns back."""
    a, b, _ = t.customers
    noon = t.now
    for cap in CAPS:
        t.cap(b, cap, 1000)
    first = t.hold(b, 300)
    t.hold(b, 1, tokens=False)
    t.set_clock(noon.replace(hour=23, minute=59, second=59, microsecond=999_999))
    t.hold(b, 99)
    t.set_clock(noon.replace(hour=0) + timedelta(days=1))
    assert t.admit(b.ask(601), b.ask(600), a.ask(1)) == ["ws_month_held", "ok", "ok"]
    t.bill(first, 200)
    # A clock that steps back over midnight: the newer window stays.
    t.set_clock(noon)
    assert t.admit(b.ask(101), b.ask(100), a.ask(2, tokens=True)) == ["ws_month_held", "ok", "ok"]
    t.set_clock(noon - timedelta(days=1))
    assert t.admit(b.ask(1), a.ask(1)) == ["bad_item", "bad_item"]
    next_month = (noon.replace(day=1) + timedelta(days=31)).replace(day=1, hour=0)
    t.set_clock(next_month - timedelta(microseconds=1))
    assert t.admit(b.ask(1)) == ["ws_month_held"]
    t.set_clock(next_month)
    assert t.admit(b.ask(1001), b.ask(1000)) == ["ws_day", "ok"]
    t.set_clock(next_month + timedelta(days=1))
    assert t.admit(b.ask(1), a.ask(3)) == ["ws_month_held", "ok"]
    t.cap(b, "ws_month", None)
    assert t.admit(b.ask(1)) == ["key_month_held"]
    t.expire(*t.known)
    for name in t.known:
        t.bill(name, 40)


def only_one_window_is_ahead(t: Twin) -> None:
    """A key that was used elsewhere after midnight, or a workspace with another key."""
    a, b, _ = t.customers
    noon = t.now
    both = a.ask(1, key=b.key.pk, version=b.key.version)
    t.set_clock(noon + timedelta(days=1))
    assert t.admit(both) == ["ok"]
    t.set_clock(noon)
    assert t.admit(b.ask(5)) == ["ok"]
    t.set_clock(noon + timedelta(days=2))
    assert t.admit(both | {"id": str(ids.request_id())}) == ["ok"]
    t.set_clock(noon)
    assert t.admit(b.ask(5)) == ["bad_item"]
    assert t.admit(a.ask(5)) == ["bad_item"]


def days_are_of_greenwich(t: Twin) -> None:
    """Whatever the session's time zone says."""
    a, _, _ = t.customers
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        with connection.cursor() as cursor:
            cursor.execute("select set_config('timezone', %s, true)", [zone])
        t.hold(a, 1)


ADMISSION: Final[tuple[Scenario, ...]] = (
    exactly_what_is_left,
    a_grant_is_split_at_the_boundary,
    want_and_need,
    every_cap,
    caps_together,
    reasons_in_their_order,
    credit_below_zero,
    credit_in_both_accounts,
    answers_are_given_again,
    items_that_make_no_sense,
    keys_and_freezing,
    holds_say_what_they_are,
    windows_turn,
    only_one_window_is_ahead,
    days_are_of_greenwich,
)
