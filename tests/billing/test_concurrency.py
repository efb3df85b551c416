"""Many connections at once, each committing for itself."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import psycopg
import pytest
from django.db import connection

from billing import invariants, ledger
from common import ids
from tests.billing.bank import (
    Customer,
    admit,
    bill,
    connect,
    customer,
    expire,
    revise,
    run_on,
    settle,
    verdicts,
    void,
)

pytestmark = pytest.mark.django_db(transaction=True)

T = TypeVar("T")


# Granted money that a correction gives back is a lot; revisions.py makes it.
LOT = """
insert into billing_lot (account_id, amount, reason, source)
select h.granted_id, %s, 'test', %s
from billing_usage u join billing_account h on h.id = u.account_id
where u.id = %s and %s > 0
"""


def patiently(ask: Callable[[], T]) -> T:
    """Ask again while a row is locked, as the gateway does."""
    while True:
        try:
            return ask()
        except psycopg.errors.LockNotAvailable:
            time.sleep(0.01)


def at_once(work: Callable[[psycopg.Connection[Any], int], Any], *, times: int) -> list[Any]:
    """Run work on that many connections that start together."""
    gate = threading.Barrier(times)

    def one(number: int) -> Any:
        with connect() as own:
            gate.wait()
            return work(own, number)

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def assert_sound() -> None:
    """No invariant that the ledger alone can answer is violated."""
    broken = [each for each in invariants.check(full=True).findings if each.violations]
    # Calls of these tests never went upstream and have no price.
    assert [each for each in broken if each.id not in (5, 10)] == []


class TestAdmit:
    def test_a_hundred_connections_share_one_balance_exactly(self) -> None:
        one = customer(usd=30 * 100)
        answers = at_once(
            lambda own, _: patiently(lambda: admit(one.ask(100), run=run_on(own)))[0]["v"],
            times=60,
        )
        assert Counter(answers) == {"ok": 30, "balance_reserved": 30}
        assert one.balance().available == 0
        assert_sound()

    def test_batches_share_one_cap_exactly(self) -> None:
        one = customer(usd=10**6)
        one.caps(key_day=20 * 100)
        answers = at_once(
            lambda own, _: verdicts(
                patiently(lambda: admit(*[one.ask(100) for _ in range(8)], run=run_on(own)))
            ),
            times=8,
        )
        counted = Counter(verdict for each in answers for verdict in each)
        assert counted == {"ok": 20, "key_day_held": 44}
        assert_sound()

    def test_one_id_on_many_connections_holds_once(self) -> None:
        one = customer(usd=1000)
        item = one.ask(100)
        answers = at_once(
            lambda own, _: patiently(lambda: admit(item, run=run_on(own)))[0]["v"], times=8
        )
        assert answers == ["ok"] * 8
        assert one.home().debits_pending == 100


class TestSettle:
    def test_one_hold_is_closed_once(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(100)
        costs = [60, 60, 60, 61] * 2
        answers = at_once(
            lambda own, number: patiently(
                lambda: settle(bill(hold, costs[number], day=day), run=run_on(own))
            )[0]["v"],
            times=8,
        )
        assert answers.count("ok") == 1
        assert set(answers) == {"ok", "already", "conflict"}
        assert one.balance().available in (940, 939)
        assert_sound()

    def test_settle_void_and_expire_race_for_one_hold(self) -> None:
        one = customer(usd=1000)
        for _ in range(5):
            hold, _day = one.hold(100)
            answers = at_once(partial(self.close, hold), times=3)
            assert "ok" in answers
            assert one.holds() == []
        assert_sound()

    @staticmethod
    def close(hold: str, own: psycopg.Connection[Any], number: int) -> str:
        """Close a hold in one of three ways."""
        run = run_on(own)
        if number == 0:
            return verdicts(patiently(lambda: settle(bill(hold, 7), run=run)))[0]
        give_back = void if number == 1 else expire
        return patiently(lambda: give_back(hold, run=run))[0]


class TestPost:
    def test_one_payment_reported_many_times_is_booked_once(self) -> None:
        one = customer()
        house = ledger.house_account(kind="clearing:test", asset="USD")
        payment = [
            {
                "kind": "top_up", "source": str(ids.source("test", "1")), "debit": house,
                "credit": one.usd, "asset": "USD", "amount": 500,
            }
        ]  # fmt: skip
        answers = at_once(lambda own, _: run_on(own)(ledger.POST, [json.dumps(payment)]), times=8)
        assert Counter(answers) == {'[{"v": "ok"}]': 1, '[{"v": "already"}]': 7}
        assert one.balance().paid == 500


class TestCareful:
    def test_a_locked_row_makes_only_its_own_items_busy(self) -> None:
        one, other = customer(usd=1000), customer(usd=1000)
        first, second = one.hold(10)[0], other.hold(10)[0]
        with connect() as keeper, connect() as own:
            keeper.execute("begin")
            keeper.execute("select from billing_account where id = %s for update", [one.usd])
            run = run_on(own)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                admit(one.ask(1), other.ask(1), run=run)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                settle(bill(first, 5), bill(second, 5), run=run)
            answers = admit(one.ask(1), other.ask(1), careful=True, run=run)
            assert verdicts(answers) == ["busy", "ok"]
            answers = settle(bill(first, 5), bill(second, 5), careful=True, run=run)
            assert verdicts(answers) == ["busy", "ok"]
            keeper.execute("rollback")
            assert verdicts(settle(bill(first, 5), careful=True, run=run)) == ["ok"]
        assert_sound()

    @pytest.mark.parametrize("what", ["meter", "granted"])
    def test_every_row_that_matters_can_be_busy(self, what: str) -> None:
        one = customer(usd=1000, granted=100)
        hold, _ = one.hold(10)
        with connect() as keeper, connect() as own:
            keeper.execute("begin")
            if what == "meter":
                keeper.execute("select from billing_keymeter for update")
            else:
                keeper.execute("select from billing_account where kind = 'granted' for update")
            run = run_on(own)
            assert verdicts(admit(one.ask(1), careful=True, run=run)) == ["busy"]
            assert verdicts(settle(bill(hold, 5), careful=True, run=run)) == ["busy"]
        assert one.balance().held == 10

    def test_an_expired_call_with_a_locked_account_is_busy(self) -> None:
        one = customer(usd=1000)
        hold, _ = one.hold(10)
        expire(hold)
        with connect() as keeper, connect() as own:
            keeper.execute("begin")
            keeper.execute("select from billing_account where id = %s for update", [one.usd])
            answers = settle(bill(hold, 5), careful=True, run=run_on(own))
            assert verdicts(answers) == ["busy"]


class TestDeadlocks:
    SECONDS = 2.0

    def test_gateways_sweeper_top_ups_and_key_edits_never_deadlock(self) -> None:
        several = [customer(usd=10**9, granted=10**6, tokens=10**6) for _ in range(4)]
        house = ledger.house_account(kind="clearing:test", asset="USD")
        end = time.monotonic() + self.SECONDS
        works = [self.gateway, self.gateway, self.gateway, self.sweeper, self.top_ups, self.edits]
        works.append(self.prover)
        finished = at_once(
            lambda own, number: works[number](own, several, house, end, number), times=len(works)
        )
        assert all(finished)
        with connection.cursor() as cursor:
            cursor.execute("select id from billing_hold")
            for (left,) in cursor.fetchall():
                assert void(str(left)) == ["ok"]
        assert_sound()

    @staticmethod
    def gateway(
        own: psycopg.Connection[Any], several: list[Customer], _: int, end: float, seed: int
    ) -> bool:
        chance, run = random.Random(seed), run_on(own)
        while time.monotonic() < end:
            batch = [
                chance.choice(several).ask(chance.randint(1, 500), tokens=chance.random() < 0.3)
                for _ in range(8)
            ]
            try:
                answers = admit(*batch, run=run)
                # Some of them as a sweep closes that can only guess.
                guess = {"source": "checkpoint", "reason": "swept"}
                bills = [
                    bill(item["id"], chance.randint(0, 600) * item["unit"], **guess)
                    for item, answer in zip(batch, answers, strict=True)
                    if answer["v"] == "ok" and chance.random() < 0.8
                ]
                settle(*bills, run=run)
            except psycopg.errors.LockNotAvailable:
                continue
        return True

    @staticmethod
    def sweeper(
        own: psycopg.Connection[Any], _several: list[Customer], _: int, end: float, _seed: int
    ) -> bool:
        while time.monotonic() < end:
            rows = own.execute("select id from billing_hold limit 50").fetchall()
            own.execute(ledger.EXPIRE, [[row[0] for row in rows], True, True])
        return True

    @staticmethod
    def prover(
        own: psycopg.Connection[Any], _several: list[Customer], _: int, end: float, seed: int
    ) -> bool:
        chance, run = random.Random(seed), run_on(own)
        while time.monotonic() < end:
            rows = own.execute(
                "select id::text, day::text, unit_nanos from billing_usage"
                " where source = 'checkpoint' limit 20"
            ).fetchall()
            for name, day, unit in rows:
                proof = bill(name, chance.randint(0, 600) * unit, day=day, reason="")
                with suppress(psycopg.errors.LockNotAvailable), own.transaction():
                    returned = revise(proof, run=run).get("returned", 0)
                    own.execute(LOT, [returned, name, name, returned])
        return True

    @staticmethod
    def top_ups(
        own: psycopg.Connection[Any], several: list[Customer], house: int, end: float, seed: int
    ) -> bool:
        chance = random.Random(seed)
        while time.monotonic() < end:
            payments = [
                {
                    "kind": "top_up", "source": str(ids.request_id()), "debit": house,
                    "credit": chance.choice(several).usd, "asset": "USD", "amount": 5,
                }
                for _ in range(3)
            ]  # fmt: skip
            own.execute(ledger.POST, [json.dumps(payments)])
        return True

    @staticmethod
    def edits(
        own: psycopg.Connection[Any], several: list[Customer], _: int, end: float, seed: int
    ) -> bool:
        chance = random.Random(seed)
        while time.monotonic() < end:
            one = chance.choice(several)
            own.execute("update accounts_apikey set name = name where id = %s", [one.key.pk])
            row = own.execute(
                "select version from accounts_apikey where id = %s", [one.key.pk]
            ).fetchone()
            assert row is not None
            one.key.version = row[0]
            own.execute(
                "update billing_keymeter set day_cap = 10000000000000 where key_id = %s",
                [one.key.pk],
            )
        return True
