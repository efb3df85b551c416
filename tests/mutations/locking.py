"""Which rows are locked, and which are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import psycopg
from django.db import DatabaseError, transaction

from billing import ledger
from billing.models import Transfer
from tests.billing import bank
from tests.billing.bank import bill
from tests.billing.twin import Twin
from tests.mutations.steps import (
    Scenario,
    committed,
    leg,
    rolled_back,
)


def careful_passes_over_locked_rows(t: Twin) -> None:
    """What somebody keeps locked is busy; the others go on; nobody waits."""
    _, b, c = t.customers
    open_hold, dollars, tokens = committed(c)
    version = c.key.version
    for row, blocks in (
        (f"id = {c.usd}", {open_hold, dollars, tokens}),
        (f"id = {t.granted(c).id}", {open_hold, dollars}),
        (f"id = {c.tok}", {tokens}),
        (f"key_id = {c.key.pk}", {open_hold, dollars, tokens}),
    ):
        table = "billing_keymeter" if row.startswith("key") else "billing_account"
        with bank.connect() as other, other.transaction(), rolled_back():
            other.execute(f"select from {table} where {row} for update")
            calls = [c.ask(1), b.ask(1), c.ask(1, tokens=True, version=version)]
            asked = bank.verdicts(bank.admit(*calls, careful=True))
            assert asked == [
                "busy" if open_hold in blocks else "ok", "ok", "busy" if tokens in blocks else "ok",
            ], row  # fmt: skip
            for name in (open_hold, dollars, tokens):
                with rolled_back():
                    [verdict] = bank.verdicts(bank.settle(bill(name, 1), careful=True))
                    assert (verdict == "busy") == (name in blocks), row
            closed = bank.settle(*[bill(each, 1) for each in blocks], careful=True)
            assert bank.verdicts(closed) == ["busy"] * len(blocks), row
    with bank.connect() as other, other.transaction():
        other.execute(f"select from billing_account where id = {c.usd} for update")
        waits(lambda: bank.admit(c.ask(1)))
        waits(lambda: bank.settle(bill(open_hold, 1)))


def waits(ask: Callable[[], Any]) -> None:
    """Ask for a row that is locked: the wait is given up."""
    code = None
    try:
        with transaction.atomic():
            ask()
    except DatabaseError as error:
        code = getattr(error.__cause__, "sqlstate", "")
    assert code == "55P03"


def rows_are_locked_while_it_decides(t: Twin) -> None:
    """Home, granted account and meter are ours, also where in the end nothing is written."""
    _, _, c = t.customers
    open_hold, expired, _ = committed(c)
    granted = t.granted(c).id
    home, gift, meter = f"id = {c.usd}", f"id = {granted}", f"key_id = {c.key.pk}"
    for careful in (False, True):
        with rolled_back():
            assert bank.verdicts(bank.admit(c.ask(9999), careful=careful)) != ["ok"]
            ours(home, gift, meter)
        with rolled_back():
            assert bank.verdicts(bank.settle(bill(open_hold, -1), careful=careful)) == ["bad_item"]
            ours(home, gift, meter)
        with rolled_back():
            assert bank.verdicts(bank.settle(bill(expired, -1), careful=careful)) == ["bad_item"]
            ours(home, gift, meter)
    for account, rows in ((c.usd, (home,)), (granted, (home, gift))):
        [booked] = Transfer.objects.filter(credit_id=account)
        with rolled_back():
            again = leg(booked.kind, booked.debit_id, account, booked.amount, source=booked.source)
            assert ledger.post(again) == [False]
            ours(*rows)


def nobody_else_is_locked(t: Twin) -> None:
    """Other customers, and accounts that a call does not touch, stay free."""
    a, b, c = t.customers
    _, expired, _ = committed(c)
    others = [f"id = {a.usd}", f"id = {a.tok}", f"id = {t.granted(a).id}"]
    untouched = [*others, f"id = {c.tok}", f"id = {t.granted(c, 'TOK').id}"]
    with rolled_back():
        assert bank.verdicts(bank.settle(bill(expired, 1))) == ["late"]
        free(*untouched)
    with rolled_back():
        assert bank.verdicts(bank.admit(c.ask(1))) == ["ok"]
        free(*untouched)
    with rolled_back():
        one = b.ask(1)
        assert bank.verdicts(bank.admit(one)) == ["ok"]
        assert bank.verdicts(bank.settle(bill(one["id"], 1))) == ["ok"]
        free(*others, f"id = {t.granted(b).id}")
    with rolled_back():
        assert ledger.post(leg("top_up", t.clearing, c.usd, 5)) == [True]
        free(*untouched, f"id = {t.granted(c).id}")
    with rolled_back():
        assert ledger.post(leg("gift", t.clearing, t.granted(c).id, 5)) == [True]
        free(*untouched)


def free(*rows: str) -> None:
    """Somebody else can lock these rows."""
    with bank.connect() as other:
        # NOWAIT waits all the same where a row has a newer version.
        other.execute("set lock_timeout = '300ms'")
        for row in rows:
            other.execute(f"select from billing_account where {row} for update nowait")


def ours(*rows: str) -> None:
    """Somebody else cannot lock these rows, but can refer to them."""
    with bank.connect() as other:
        # NOWAIT waits all the same where a row has a newer version.
        other.execute("set lock_timeout = '300ms'")
        for row in rows:
            table = "billing_keymeter" if row.startswith("key") else "billing_account"
            text = f"select from {table} where {row} for"
            try:
                other.execute(f"{text} no key update nowait")
            except psycopg.errors.LockNotAvailable:
                pass
            else:
                raise AssertionError(f"{row} is not locked")
            other.execute(f"{text} key share nowait")


LOCKS: Final[tuple[Scenario, ...]] = (
    rows_are_locked_while_it_decides, nobody_else_is_locked, careful_passes_over_locked_rows,
)  # fmt: skip
