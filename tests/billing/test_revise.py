"""Evidence that comes after a guess: the difference is booked once, whatever happens meanwhile."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from accounts import keys
from billing import freezing, invariants
from billing.models import Revision
from tests.billing.bank import (
    Customer,
    Item,
    bill,
    connect,
    customer,
    expire,
    legs,
    repeat,
    revise,
    run_on,
    set_clock,
    settle,
)
from tests.billing.test_concurrency import assert_sound, at_once, patiently

GUESS = {"source": "checkpoint", "reason": "swept"}


def guessed(one: Customer, cost: int, *, want: int = 500) -> Item:
    """Let a sweep charge an estimate; return what the gateway would say instead, but its cost."""
    hold_id, day = one.hold(want)
    [answer] = settle(bill(hold_id, cost, day=day, **GUESS))
    assert answer["v"] == "ok"
    return bill(hold_id, 0, day=day, reason="")


def charged(one: Customer) -> list[tuple[str, int, int]]:
    return [(row.source, row.charged, row.uncollected) for row in one.usage()]


@pytest.mark.django_db
class TestRevise:
    def test_an_estimate_that_was_too_high_is_paid_back(self) -> None:
        one = customer(usd=1000)
        proof = guessed(one, 300)
        assert revise(proof | {"cost": 120})["v"] == "corrected"
        assert legs(proof["id"]) == {"usage.paid": 300, "usage.refund.paid": 180}
        assert charged(one) == [("provider", 120, 0)]
        assert (one.balance().paid, one.home().day_used, one.meter().spent) == (880, 120, 120)
        assert_sound()

    def test_one_that_was_too_low_is_charged_up_to_the_hold_and_the_rest_is_our_loss(self) -> None:
        one = customer(usd=1000)
        proof = guessed(one, 300)
        assert revise(proof | {"cost": 520})["v"] == "corrected"
        assert legs(proof["id"]) == {
            "usage.paid": 300, "usage.further.paid": 200, "usage.further.uncollected": 20,
        }  # fmt: skip
        assert charged(one) == [("provider", 500, 20)]
        assert (one.balance().paid, one.home().month_used) == (500, 500)
        assert_sound()

    def test_what_the_balance_cannot_cover_is_our_loss_too(self) -> None:
        one = customer(usd=500)
        proof = guessed(one, 300)
        one.hold(150)
        assert revise(proof | {"cost": 490})["v"] == "corrected"
        assert charged(one) == [("provider", 350, 140)]
        assert one.balance().available == 0
        assert_sound()

    def test_twice_changes_nothing_and_other_evidence_is_a_conflict(self) -> None:
        one = customer(usd=1000)
        proof = guessed(one, 300)
        answers = [revise(proof | {"cost": cost}) for cost in (120, 120, 121, 120)]
        assert [each["v"] for each in answers] == ["corrected", "already", "conflict", "already"]
        assert [each["charged"] for each in answers] == [120] * 4
        assert Revision.objects.count() == 1
        assert one.balance().paid == 880

    def test_a_sweep_that_comes_after_the_evidence_changes_nothing(self) -> None:
        one = customer(usd=1000)
        hold_id, day = one.hold(500)
        expire(hold_id)
        assert revise(bill(hold_id, 9, day=day))["v"] == "conflict"
        [late] = settle(bill(hold_id, 120, day=day, reason=""))
        [guess] = settle(bill(hold_id, 300, day=day, **GUESS))
        assert (late["v"], guess["v"]) == ("late", "conflict")
        assert revise(bill(hold_id, 120, day=day, reason=""))["v"] == "already"
        assert charged(one) == [("provider", 120, 0)]
        assert_sound()

    def test_an_estimate_after_the_hold_had_expired_gives_way_as_well(self) -> None:
        one = customer(usd=1000)
        hold_id, day = one.hold(500)
        expire(hold_id)
        settle(bill(hold_id, 300, day=day, source="count", reason="swept"))
        assert revise(bill(hold_id, 120, day=day, reason=""))["v"] == "corrected"
        assert charged(one) == [("provider", 120, 0)]

    def test_a_call_that_a_sweep_had_found_nothing_of_is_charged(self) -> None:
        one = customer(usd=1000)
        hold_id, day = one.hold(500)
        settle(bill(hold_id, 0, state="voided", day=day, source=None, reason="never_arrived"))
        assert revise(bill(hold_id, 120, day=day, reason=""))["v"] == "corrected"
        assert [(row.state, row.charged) for row in one.usage()] == [("late", 120)]
        assert_sound()

    def test_an_unknown_call_that_cost_nothing_is_known_now(self) -> None:
        one = customer(usd=1000)
        hold_id, day = one.hold(500)
        expire(hold_id)
        assert revise(bill(hold_id, 0, state="voided", day=day, source="none"))["v"] == "corrected"
        assert [(row.unknown, row.charged) for row in one.usage()] == [(False, 0)]
        assert legs(hold_id) == {}
        assert_sound()

    @pytest.mark.parametrize(
        ("closed", "told"),
        [
            ({"source": "lookup", "reason": "swept"}, "provider"),
            ({"source": "provider"}, "provider"),
            ({"source": "count", "reason": "swept"}, "count"),
            ({"source": "none", "reason": "let_go"}, "provider"),
        ],
        ids=["two exact ones", "a gateway's own", "two estimates", "a decision of staff"],
    )
    def test_nothing_else_gives_way(self, closed: dict[str, str], told: str) -> None:
        one = customer(usd=1000)
        hold_id, day = one.hold(500)
        settle(bill(hold_id, 300, day=day, **closed))
        assert revise(bill(hold_id, 120, day=day, reason="", source=told))["v"] == "conflict"
        assert one.balance().paid == 700
        assert not Revision.objects.exists()

    def test_tokens_are_charged_and_paid_back_in_whole_ones(self) -> None:
        one = customer(usd=10, tokens=20)
        hold_id, day = one.hold(8, tokens=True)
        settle(bill(hold_id, 10_000_000, day=day, **GUESS))
        assert revise(bill(hold_id, 2_500_001, day=day, reason=""))["v"] == "corrected"
        assert (one.balance("TOK").paid, one.home().day_used) == (18, 2_500_001)
        assert_sound()

    def test_it_is_no_matter_that_the_key_is_gone_and_the_workspace_frozen(self) -> None:
        one = customer(usd=1000)
        proofs = [guessed(one, 300), guessed(one, 100)]
        keys.delete(key=one.key, by=None)
        freezing.freeze(workspace=one.workspace, reason="test", by=None)
        for proof in proofs:
            assert revise(proof | {"cost": 200})["v"] == "corrected"
        assert one.balance().paid == 600
        assert one.meter().spent == 400
        assert_sound()

    def test_a_cap_that_was_lowered_stops_no_further_charge(self) -> None:
        one = customer(usd=1000)
        proof = guessed(one, 100)
        one.caps(ws_day=100, key_month=100)
        assert revise(proof | {"cost": 400})["v"] == "corrected"
        assert (one.home().day_used, one.meter().month_used) == (400, 400)

    def test_over_midnight_it_counts_on_the_day_of_the_call(self) -> None:
        noon = timezone.now().replace(day=10, hour=12)
        set_clock(noon)
        one = customer(usd=1000)
        proof = guessed(one, 300)
        set_clock(noon + timedelta(days=1))
        one.use(5)
        assert revise(proof | {"cost": 120})["v"] == "corrected"
        for window in (one.home(), one.meter()):
            assert (window.day_used, window.month_used) == (5, 125)
        report = invariants.check(full=True, now=noon + timedelta(days=1))
        assert not [each for each in report.findings if each.violations and each.id in (2, 4, 7)]

    def test_books_that_hide_a_correction_are_found(self) -> None:
        one = customer(usd=1000)
        proof = guessed(one, 300)
        revise(proof | {"cost": 120})
        with connection.cursor() as cursor:
            cursor.execute("set local session_replication_role = replica")
            for statement in (
                "update billing_revision set charged = 121",
                "update billing_revision set charged = 120, cost = 121",
                "update billing_revision set cost = 120, old_charged = 301",
                "delete from billing_revision",
            ):
                cursor.execute(statement)
                violated = invariants.check(full=True).findings[6]
                assert (violated.id, violated.violations > 0) == (7, True), statement


def found_nothing_of(one: Customer) -> Item:
    """Let a sweep void a call; return what the gateway would say of it instead."""
    hold_id, day = one.hold(500)
    settle(bill(hold_id, 0, state="voided", day=day, source=None, reason="never_arrived"))
    return bill(hold_id, 120, day=day, reason="")


@pytest.mark.django_db
class TestRepeat:
    def test_a_call_whose_key_was_given_away_is_never_charged(self) -> None:
        one = customer(usd=1000, granted=50)
        proof = found_nothing_of(one)
        repeat(proof["id"], proof["day"])
        answers = [revise(proof), revise(proof), revise(proof | {"cost": 121})]
        assert [each["v"] for each in answers] == ["corrected", "already", "conflict"]
        assert legs(proof["id"]) == {"usage.further.uncollected": 120}
        assert [(r.state, r.reason, r.cost, r.charged, r.uncollected) for r in one.usage()] == [
            ("late", "repeated", 120, 0, 120)
        ]
        assert (one.balance().total, one.home().day_used, one.meter().spent) == (1050, 0, 0)
        assert_sound()

    def test_evidence_that_came_before_is_charged_once(self) -> None:
        one = customer(usd=1000)
        proof = found_nothing_of(one)
        assert revise(proof)["v"] == "corrected"
        repeat(proof["id"], proof["day"])
        assert revise(proof)["v"] == "already"
        assert [(row.state, row.reason, row.charged) for row in one.usage()] == [("late", "", 120)]

    def test_nothing_else_is_touched(self) -> None:
        one = customer(usd=1000)
        other = found_nothing_of(one)
        mine = found_nothing_of(one)
        guess = guessed(one, 300)
        for name in (mine["id"], guess["id"]):
            repeat(name, mine["day"])
        reasons = {str(row.id): row.reason for row in one.usage()}
        assert reasons == {
            other["id"]: "never_arrived", mine["id"]: "repeated", guess["id"]: "swept",
        }  # fmt: skip
        assert revise(other)["charged"] == 120


@pytest.mark.django_db(transaction=True)
class TestReviseAtOnce:
    def test_a_key_is_given_away_or_its_call_charged_never_both(self) -> None:
        one = customer(usd=1000)
        proof = found_nothing_of(one)

        def work(own: psycopg.Connection[object], number: int) -> None:
            run = run_on(own)
            if number % 2:
                patiently(lambda: repeat(proof["id"], proof["day"], run=run))
            else:
                patiently(lambda: revise(proof, run=run))

        at_once(work, times=6)
        assert charged(one) in ([("provider", 120, 0)], [("provider", 0, 120)])
        [row] = one.usage()
        assert (row.reason == "repeated") == (row.charged == 0)
        assert one.balance().paid == 1000 - row.charged
        assert_sound()

    def test_of_many_takers_one_corrects_and_the_others_find_it_done(self) -> None:
        one = customer(usd=1000)
        proof = guessed(one, 300) | {"cost": 120}
        answers = at_once(
            lambda own, _: patiently(lambda: revise(proof, run=run_on(own)))["v"], times=8
        )
        assert Counter(answers) == {"corrected": 1, "already": 7}
        assert one.balance().paid == 880
        assert_sound()

    def test_who_is_killed_in_the_middle_leaves_nothing_of_it(self) -> None:
        one = customer(usd=1000)
        proof = guessed(one, 300) | {"cost": 120}
        with connect() as own, connect() as killer:
            own.execute("begin")
            assert revise(proof, run=run_on(own))["v"] == "corrected"
            killer.execute("select pg_terminate_backend(%s, 5000)", [own.info.backend_pid])
            with pytest.raises(psycopg.OperationalError):
                own.execute("commit")
        assert one.balance().paid == 700
        assert revise(proof)["v"] == "corrected"
        assert one.balance().paid == 880
        assert_sound()

    def test_it_meets_a_late_settlement_without_being_booked_beside_it(self) -> None:
        one = customer(usd=1000)
        hold_id, day = one.hold(500)
        expire(hold_id)
        proof = bill(hold_id, 120, day=day, reason="")

        def work(own: psycopg.Connection[object], number: int) -> str:
            run = run_on(own)
            if number % 2:
                return str(patiently(lambda: settle(proof, run=run))[0]["v"])
            settled = patiently(lambda: settle(bill(hold_id, 300, day=day, **GUESS), run=run))
            return str(settled[0]["v"]) + str(patiently(lambda: revise(proof, run=run))["v"])

        at_once(work, times=6)
        assert charged(one) == [("provider", 120, 0)]
        assert one.balance().paid == 880
        assert_sound()
