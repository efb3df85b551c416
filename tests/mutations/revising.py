"""What billing_revise must do."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.db import connection

from billing.models import Account, KeyMeter, Revision, Usage
from common import ids
from tests.billing import bank
from tests.billing.bank import bill
from tests.billing.model import MOST, TOK_NANOS
from tests.billing.twin import Twin
from tests.mutations.locking import free, ours, waits
from tests.mutations.steps import Scenario, committed, rolled_back, rolled_back_twin

EXACT: Final = {"source": "provider", "reason": ""}


def evidence_moves_the_difference(t: Twin) -> None:
    """Up to the hold and down to nothing, in dollars and tokens, paid and granted, once."""
    a, b, _ = t.customers
    split = t.granted(a).free
    want = split + 200
    for guess in (1, split + 40, want + 10):
        for cost in (0, split - 50, split + 41, want, want + 1):
            with rolled_back_twin(t):
                name = t.guess(t.hold(a, want), guess)
                assert t.revise(name, cost, **EXACT) == "corrected"
                assert t.revise(name, cost, **EXACT) == "already"
                assert t.revise(name, cost + 1, **EXACT) == "conflict"
    for cost in (0, 1, TOK_NANOS, TOK_NANOS + 1, 3 * TOK_NANOS, 7 * TOK_NANOS - 1, 9 * TOK_NANOS):
        with rolled_back_twin(t):
            names = [t.guess(t.hold(one, 6, tokens=True), 3 * TOK_NANOS) for one in (a, a)]
            names.append(t.guess(t.hold(b, 3, tokens=True), 2 * TOK_NANOS))
            for name in (names[1], names[0], names[2]):
                assert t.revise(name, cost, **EXACT) == "corrected"


def only_what_is_there_is_taken(t: Twin) -> None:
    """What other calls hold and what the floor keeps is not; credit for calls is."""
    a, _, _ = t.customers
    home, gift = a.usd, t.granted(a).id
    for floors in ((0, 0), (-40, -20)):
        for spare in (0, 7, 330):
            for cost in (101, 110, 401):
                with rolled_back_twin(t):
                    t.change(home, floor=floors[0])
                    t.change(gift, floor=floors[1])
                    name = t.guess(t.hold(a, 400), 100)
                    t.hold(a, t.free(a) - spare)
                    assert t.revise(name, cost, **EXACT) == "corrected"
    for given in (0, 5, 50):
        with rolled_back_twin(t):
            t.change(gift, floor=-20)
            t.bill(t.hold(a, 350), 350)
            name = t.guess(t.hold(a, 400), 100)
            t.hold(a, t.free(a) - 30)
            if given:
                t.pay(a, given, granted=True)
            assert t.revise(name, 390, **EXACT) == "corrected"
    # Where an operator took money away below what is held, nothing more is taken.
    with rolled_back_twin(t):
        names = [t.guess(t.hold(a, 90), 10), t.guess(t.hold(a, 90), 10)]
        t.hold(a, t.free(a))
        t.change(home, floor=-1000)
        t.change(gift, floor=-1000)
        t.post(("out", home, "clearing:test USD", 900), ("fee", gift, "clearing:test USD", 290))
        t.change(home, floor=0)
        t.change(gift, floor=0)
        assert [t.revise(name, 80, **EXACT) for name in names] == ["corrected"] * 2


def our_loss_is_undone_first(t: Twin) -> None:
    """A charge that could not be collected comes back before the customer's money does."""
    a, _, _ = t.customers
    for cost in (0, 119, 130, 399, 401):
        with rolled_back_twin(t):
            name = t.hold(a, 400)
            t.expire(name)
            t.hold(a, t.free(a) - 120)
            t.guess(name, 400)
            t.pay(a, 10)
            assert t.revise(name, cost, **EXACT) == "corrected"
        with rolled_back_twin(t):
            name = t.guess(t.hold(a, 350), 400)
            assert t.revise(name, cost, **EXACT) == "corrected"


def a_guess_gives_way_and_nothing_else(t: Twin) -> None:
    """What a sweep guessed; not what somebody knew, nor what staff decided."""
    _, b, _ = t.customers
    told = ("provider", "lookup", "count", "checkpoint", "none", None)
    closed: list[dict[str, Any]] = [
        {"cost": 4, "source": source, "reason": reason}
        for source in told
        for reason in ("swept", "", "let_go", "never_arrived")
    ]
    closed += [
        {"cost": 0, "state": state, "source": source, "reason": reason}
        for state in ("voided", "expired")
        for source in (None, "checkpoint")
        for reason in ("never_arrived", "no_output", "abandoned", "swept", "unknown")
    ]
    cases = [(how, source) for how in closed for source in (*told, "voided")]
    items = [b.ask(9) for _ in cases]
    assert set(t.admit(*items)) == {"ok"}
    bills = [bill(item["id"], **how) for item, (how, _) in zip(items, cases, strict=True)]
    assert set(t.settle(*bills)) == {"ok"}
    for item, (how, source) in zip(items, cases, strict=True):
        evidence: dict[str, Any] = {"source": source, "reason": ""}
        if source == "voided":
            evidence = {"source": None, "reason": "", "state": "voided"}
        else:
            t.revise(item["id"], 5, **evidence)
        t.revise(item["id"], how["cost"] if source != "voided" else 0, **evidence)


def bills_that_make_no_sense(t: Twin) -> None:
    """They change nothing, and neither does one of a call that is not there."""
    a, _, _ = t.customers
    name = t.guess(t.hold(a, 90), 40)
    for change in ({"cost": -1}, {"cost": MOST + 1}, {"cost": None}, {"state": "expired"},
                   {"state": "expired", "cost": 0}, {"state": "voided"}, {"state": None},
                   {"id": None}, {"day": None}):  # fmt: skip
        item = bill(name, 5, day=t.now.date().isoformat(), **EXACT) | change
        assert bank.revise(item) == {"v": "bad_item", "charged": 0, "uncollected": 0}, change
    t.agree()
    assert t.revise(str(ids.request_id()), 5, **EXACT) == "unknown"
    tomorrow = (t.now + timedelta(days=1)).date().isoformat()
    assert t.revise(name, 5, day=tomorrow, **EXACT) == "unknown"
    with rolled_back_twin(t):
        assert t.revise(name, 0, **EXACT) == "corrected"
    with rolled_back_twin(t):
        assert t.revise(name, MOST, **EXACT) == "corrected"


def midnight_moves_no_money(t: Twin) -> None:
    """A correction counts in the windows of the call's own day and month, others stay."""
    a, b, _ = t.customers
    noon = t.now
    names = [t.guess(t.hold(one, 200), guess) for guess in (20, 120) for one in (a, b)]
    names += [t.guess(t.hold(a, 4, tokens=True), 2 * TOK_NANOS)]
    with rolled_back_twin(t):
        for name in names:
            assert t.revise(name, 70, **EXACT) == "corrected"
    for later in (timedelta(days=1), timedelta(days=31)):
        with rolled_back_twin(t):
            t.set_clock(noon + later)
            # One key's window turns, and another customer's.
            for one in t.customers[:2]:
                t.hold(one, 1)
            for name in names:
                assert t.revise(name, 70, **EXACT) == "corrected"
        t.set_clock(noon)
    with rolled_back_twin(t):
        t.set_clock(noon + timedelta(days=1))
        assert t.admit(b.ask(4, key=a.key.pk, version=a.key.version)) == ["ok"]
        for name in names:
            assert t.revise(name, 70, **EXACT) == "corrected"
    t.set_clock(noon)


def one_of_many_is_meant(t: Twin) -> None:
    """Among calls of the same day and of others, of the same customer and of others."""
    a, b, _ = t.customers
    noon = t.now
    names = []
    for days in (0, 1, 2):
        t.set_clock(noon + timedelta(days=days))
        names += [t.guess(t.hold(one, 50), 20 + days) for one in (a, b, a)]
    for name in (names[4], names[0], names[8], names[5]):
        assert t.revise(name, 30, **EXACT) == "corrected"
        t.agree()


def the_record_keeps_both_prices(t: Twin) -> None:
    """The usage row has the new facts, the revision the old price; both and the ledger a time."""
    a, _, _ = t.customers
    name = t.guess(t.hold(a, 350), 340)
    t.set_clock(t.now + timedelta(seconds=9))
    facts = {"provider": "sandbox", "input_tokens": 7, "output_tokens": 3, "price_id": 8}
    assert t.revise(name, 200, **EXACT, **facts) == "corrected"
    row, kept = Usage.objects.get(pk=name), Revision.objects.get(pk=name)
    assert {key: getattr(row, key) for key in facts} == facts
    assert (row.state, row.source, row.reason, row.cost) == ("late", "provider", "", 200)
    assert row.closed_at == kept.at == t.now
    assert (kept.old_state, kept.old_source, kept.old_cost) == ("settled", "checkpoint", 340)
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from billing_transfer where at = %s and kind like 'usage.refund.%%'",
            [t.now],
        )
        assert cursor.fetchone() == (1 + (row.granted < 300),)


def drift_stops_no_correction(t: Twin) -> None:
    """A window that had drifted below what comes back ends at nothing."""
    a, _, _ = t.customers
    name = t.guess(t.hold(a, 350), 340)
    Account.objects.filter(pk=a.usd).update(day_used=1, month_used=1)
    KeyMeter.objects.filter(pk=a.key.pk).update(day_used=1, month_used=1)
    item = bill(name, 5, day=t.now.date().isoformat(), **EXACT)
    assert bank.revise(item)["v"] == "corrected"
    meter, home = KeyMeter.objects.get(pk=a.key.pk), Account.objects.get(pk=a.usd)
    assert meter.day_used == meter.month_used == home.day_used == home.month_used == 0
    t.part()


def a_call_that_is_made_again_is_our_loss(t: Twin) -> None:
    """One that a sweep found nothing of, and no other; evidence of it comes all the same."""
    a, b, _ = t.customers
    noon = t.now
    names = []
    for days in (0, 1):
        t.set_clock(noon + timedelta(days=days))
        for state, cost, why in (
            ("voided", 0, "never_arrived"), ("voided", 0, "no_output"), ("voided", 0, "abandoned"),
            ("settled", 3, "never_arrived"), ("expired", 0, "no_output"), ("settled", 3, "swept"),
        ):  # fmt: skip
            for one in (a, b):
                names.append(t.hold(one, 30))
                facts = {"state": state, "source": "checkpoint", "reason": why}
                t.bill(names[-1], cost, **facts)
    for day in (noon, noon + timedelta(days=1), noon + timedelta(days=2)):
        for name in names:
            with rolled_back_twin(t):
                t.repeat(name, day=day.date())
    t.repeat(str(ids.request_id()))
    for name in names[:6]:
        t.repeat(name)
        t.revise(name, 41, **EXACT)
        t.repeat(name)
        t.revise(name, 41, **EXACT)
        t.revise(name, 40, **EXACT)
    # Who corrects it first has charged it.
    assert t.revise(names[12], 20, **EXACT) == "corrected"
    t.repeat(names[12])
    t.agree()


def the_home_of_a_repeated_call_is_locked(t: Twin) -> None:
    """As a correction locks it; nobody else waits, and a locked row is not waited for."""
    a, b, c = t.customers
    _, dollars, tokens = committed(c)
    for name, home in ((dollars, c.usd), (tokens, c.tok)):
        day = Usage.objects.get(pk=name).day.isoformat()
        with rolled_back():
            bank.repeat(name, day)
            ours(f"id = {home}")
            free(*[f"id = {each}" for each in (a.usd, a.tok, b.usd)])
        with bank.connect() as other, other.transaction():
            other.execute(f"select from billing_account where id = {home} for update")
            waits(partial(bank.repeat, name, day))


def homes_are_locked_while_it_decides(t: Twin) -> None:
    """Also where nothing is written; nobody else waits, and a locked row is not waited for."""
    a, b, c = t.customers
    _, dollars, tokens = committed(c)
    homes = {dollars: [c.usd], tokens: [c.usd, c.tok]}
    for name, locked in homes.items():
        day = Usage.objects.get(pk=name).day.isoformat()
        with rolled_back():
            assert bank.revise(bill(name, 1, day=day))["v"] == "conflict"
            ours(*[f"id = {each}" for each in locked])
            free(*[f"id = {each}" for each in (a.usd, a.tok, b.usd, t.granted(c).id)])
        with bank.connect() as other, other.transaction():
            other.execute(f"select from billing_account where id = {c.usd} for update")
            waits(partial(bank.revise, bill(name, 1, day=day)))


REVISING: Final[tuple[Scenario, ...]] = (
    evidence_moves_the_difference, one_of_many_is_meant, bills_that_make_no_sense,
    midnight_moves_no_money, our_loss_is_undone_first, only_what_is_there_is_taken,
    the_record_keeps_both_prices, homes_are_locked_while_it_decides, drift_stops_no_correction,
    a_guess_gives_way_and_nothing_else, a_call_that_is_made_again_is_our_loss,
    the_home_of_a_repeated_call_is_locked,
)  # fmt: skip
