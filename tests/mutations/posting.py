"""What must be true of money that is not usage, and of opening accounts."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psycopg
from django.db import transaction

from billing import ledger
from billing.models import Account
from common import ids
from tests.billing import bank
from tests.billing.twin import Twin
from tests.mutations.steps import (
    Scenario,
    leg,
    refuses,
)


def money_moves_once(t: Twin) -> None:
    """A source is booked once; other accounts, assets or amounts under it are a conflict."""
    a, b, _ = t.customers
    source = ids.request_id()
    first = leg("top_up", t.clearing, a.usd, 700, source=source)
    assert ledger.post(first) == [True]
    assert ledger.post(first, leg("other", t.clearing, a.usd, 1, source=source)) == [False, True]
    for change in ({"amount": 701}, {"credit": b.usd}, {"debit": a.usd, "credit": t.clearing}):
        fields = {"debit": t.clearing, "credit": a.usd, "amount": 700} | change
        refuses(ledger.Conflict, leg("top_up", **fields, source=source))
    assert a.balance().paid == 1701
    t.model = type(t.model).read()


def money_that_cannot_go(t: Twin) -> None:
    """Exactly what is free can go, no unit more, credit neither; the house has no bound."""
    a, b, _ = t.customers
    granted = t.granted(a).id
    t.hold(a, 400)
    for floor in (-50, 0):
        t.change(a.usd, floor=floor)
        for account, free in ((a.usd, 900), (granted, 0)):
            refuses(ledger.InsufficientFunds, leg("out", account, t.clearing, free + 1))
    t.refund(a, 900)
    t.void(*list(t.model.holds))
    assert t.post(("out", granted, "clearing:test USD", 300))
    assert not t.post(("out", granted, "clearing:test USD", 1))
    assert t.post(("in", "clearing:test USD", b.usd, 5), ("back", b.usd, "clearing:test USD", 5))
    assert t.post(("out", b.usd, a.usd, 5))
    refuses(
        ledger.InsufficientFunds,
        leg("in", t.clearing, a.usd, 1),
        leg("out", a.usd, t.clearing, 999),
    )
    bank_account = ledger.house_account(kind="bank", asset="USD")
    assert ledger.post(leg("payout", bank_account, t.clearing, 10**30)) == [True]
    t.part()


def items_that_are_no_transfers(t: Twin) -> None:
    """Each field is asked for, each bound counts, a whole one passes."""
    a, _, _ = t.customers
    whole = {"kind": "x", "debit": t.clearing, "credit": a.usd, "amount": 1, "asset": "USD"}
    assert bank.run_django(ledger.POST, [post_text(whole)]) == '[{"v": "ok"}]'
    for change in (
        {"kind": ""},
        {"kind": None},
        {"kind": "usage.paid"},
        {"source": None},
        {"amount": 0},
        {"amount": -1},
        {"amount": 1.5},
        {"amount": None},
        {"asset": None},
        {"debit": a.usd},
        {"debit": None},
        {"credit": None},
    ):
        said = ""
        try:
            with ledger.refusals(), transaction.atomic():
                bank.run_django(ledger.POST, [post_text(whole | change)])
        except ledger.NotATransfer as refusal:
            said = str(refusal)
        assert "not a transfer" in said, change
    t.part()


def post_text(item: dict[str, Any]) -> str:
    """Return one item of billing_post, with a source of its own."""
    return json.dumps([{"source": str(ids.request_id())} | item])


def accounts_are_opened_once(t: Twin) -> None:
    """Two per asset, whoever asks; those of the house are found again by kind and asset."""
    a, b, _ = t.customers
    call = "select billing_open_account(%s, %s, %s, %s)::text"
    for _ in range(2):
        bank.run_django(call, [a.workspace.pk, "EUR", 5, 6])
    bank.run_django(call, [b.workspace.pk, "EUR", None, None])
    rows = Account.objects.filter(asset="EUR").order_by("id")
    home = rows.get(workspace=a.workspace, kind="paid")
    assert (home.day_cap, home.month_cap, home.bounded) == (5, 6, True)
    assert home.granted == rows.get(workspace=a.workspace, kind="granted")
    assert rows.count() == 4
    made = {
        (kind, asset): ledger.house_account(kind=kind, asset=asset)
        for kind in ("one", "two", "paid")
        for asset in ("USD", "EUR")
        if kind != "paid"
    }
    assert len(set(made.values())) == 4
    for (kind, asset), found in made.items():
        assert ledger.house_account(kind=kind, asset=asset) == found
        row = Account.objects.get(pk=found)
        assert (row.kind, row.asset, row.workspace_id) == (kind, asset, None)
    t.part()


def one_opens_at_a_time(t: Twin) -> None:
    """A second opener waits for the first; others may refer to the workspace meanwhile."""
    a, b, _ = t.customers
    t.part()
    call = "select billing_open_account(%s, %s, null, null)::text"
    bank.run_django(call, [a.workspace.pk, "GBP"])
    lock = "select from accounts_workspace where id = {} for {} nowait"
    with bank.connect() as other:
        other.execute(lock.format(a.workspace.pk, "key share"))
        other.execute(lock.format(b.workspace.pk, "update"))
        try:
            other.execute(lock.format(a.workspace.pk, "no key update"))
        except psycopg.errors.LockNotAvailable:
            return
    raise AssertionError("a second opener would not wait")


def two_make_the_same_account_of_the_house(t: Twin) -> None:
    """The second waits for the first and takes its account, whichever row is stored first."""
    kinds = [f"race {ids.request_id()}" for _ in range(3)]
    with bank.connect() as first:
        try:
            for kind in kinds:
                second_takes_it(first, kind)
        finally:
            first.execute("rollback")
            first.execute("delete from billing_account where kind = any(%s)", [kinds])
    t.part()


def second_takes_it(first: psycopg.Connection[Any], kind: str) -> None:
    """Open an account of the house while another connection makes it."""
    with first.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("begin")
        made = cursor.execute(
            "insert into billing_account (kind, asset, bounded) values (%s, 'USD', false)"
            " returning id",
            [kind],
        ).fetchone()
        over = threading.Event()
        pool.submit(commits_when_awaited, first, over)
        try:
            found = ledger.house_account(kind=kind, asset="USD")
        finally:
            over.set()
    assert made == (found,)


def commits_when_awaited(first: psycopg.Connection[Any], over: threading.Event) -> None:
    """Commit as soon as somebody waits for a lock of this connection, or when it is over."""
    waiting = "select exists (select from pg_stat_activity where %s = any(pg_blocking_pids(pid)))"
    with bank.connect() as watch:
        while not over.wait(0.005):
            row = watch.execute(waiting, [first.info.backend_pid]).fetchone()
            if row and row[0]:
                break
    first.execute("commit")


POSTING: Final[tuple[Scenario, ...]] = (
    money_moves_once,
    money_that_cannot_go,
    items_that_are_no_transfers,
)


OPENING: Final[tuple[Scenario, ...]] = (
    accounts_are_opened_once,
    one_opens_at_a_time,
    two_make_the_same_account_of_the_house,
)
