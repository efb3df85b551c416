"""Sums of usage equal usage, whatever commits when, and whoever sums how often."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection

from billing import rollups, summaries
from tests.billing.bank import (
    Customer,
    admit,
    bill,
    connect,
    customer,
    expire,
    run_on,
    settle,
    verdicts,
    void,
)

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()
FIRST, LAST = TODAY - timedelta(days=3), TODAY + timedelta(days=3)
FACTS = (
    "count(*), count(*) filter (where status is null or status >= 400),"
    " count(*) filter (where cancelled), count(*) filter (where unknown),"
    " sum(charged), sum(charged * unit_nanos), sum(uncollected), sum(cost), sum(upstream_cost),"
    " sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(output_tokens),"
    " sum(reasoning_tokens), sum(pictures), sum(searches), count(first_byte_ms),"
    " coalesce(sum(first_byte_ms), 0), count(latency_ms), coalesce(sum(latency_ms), 0)"
)
HOUR = "extract(hour from created_at at time zone 'UTC')::smallint"
NAMES = ", ".join(summaries.MEASURES)


def ask(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def usage() -> list[tuple[Any, ...]]:
    """What the records themselves say."""
    keys = f"workspace_id, day, {HOUR}, key_id, model, provider, asset"
    order = "1, 2, 3, 4, 5, 6, 7"
    return ask(f"select {keys}, {FACTS} from billing_usage group by {order} order by {order}")  # noqa: S608 - fixed texts


def hours() -> list[tuple[Any, ...]]:
    """What the sums per hour say."""
    keys = "workspace_id, day, hour, key_id, model, provider, asset"
    return ask(f"select {keys}, {NAMES} from billing_usagehour where requests > 0 order by {keys}")  # noqa: S608 - fixed texts


def days() -> list[tuple[Any, ...]]:
    """What the sums per day say, as hours of a day would."""
    keys = "workspace_id, day, key_id, model, provider, asset"
    sums = ", ".join(f"sum({name})" for name in summaries.MEASURES)
    from_hours = ask(
        f"select {keys}, {sums} from billing_usagehour group by {keys}"  # noqa: S608 - fixed texts
        f" having sum(requests) > 0 order by {keys}"
    )
    where = f"where requests > 0 order by {keys}"
    from_days = ask(f"select {keys}, {NAMES} from billing_usageday {where}")  # noqa: S608 - fixed texts
    assert from_days == from_hours
    assert models() == without_keys()
    assert weeks() == weeks_of_days()
    assert totals() == without_workspaces()
    assert places() == of_days_of_places()
    assert lives() == of_days_of_keys()
    return from_days


def models() -> list[tuple[Any, ...]]:
    """What the sums without keys say."""
    keys = "workspace_id, day, model, provider, asset"
    return ask(f"select {keys}, {NAMES} from billing_usagemodel where requests > 0 order by {keys}")  # noqa: S608 - fixed texts


def weeks() -> list[tuple[Any, ...]]:
    """What the sums per key and week say."""
    return ask("select * from billing_usagekey where requests > 0 order by 1, 2, 3")


def weeks_of_days() -> list[tuple[Any, ...]]:
    """What the sums per day say, added up over weeks."""
    return ask(
        "select workspace_id, date_trunc('week', day)::date, key_id, sum(requests), sum(spent)"
        " from billing_usageday group by 1, 2, 3 having sum(requests) > 0 order by 1, 2, 3"
    )


def without_keys() -> list[tuple[Any, ...]]:
    """What the sums with keys say, added up over the keys."""
    keys = "workspace_id, day, model, provider, asset"
    sums = ", ".join(f"sum({name})" for name in summaries.MEASURES)
    return ask(
        f"select {keys}, {sums} from billing_usageday group by {keys}"  # noqa: S608 - fixed texts
        f" having sum(requests) > 0 order by {keys}"
    )


def totals() -> list[tuple[Any, ...]]:
    """What the sums over all workspaces say."""
    keys = "day, model, provider, asset"
    return ask(f"select {keys}, {NAMES} from billing_usagetotal where requests > 0 order by {keys}")  # noqa: S608 - fixed texts


def places() -> list[tuple[Any, ...]]:
    """What the sums per workspace over all time say."""
    return ask("select * from billing_usageplace where requests > 0 order by 1")


def of_days_of_places() -> list[tuple[Any, ...]]:
    """What the sums per day say, added up over all time."""
    return ask(
        "select workspace_id, sum(requests), sum(spent) from billing_usageday"
        " group by 1 having sum(requests) > 0 order by 1"
    )


def lives() -> list[tuple[Any, ...]]:
    """What the sums per key over all time say."""
    return ask("select * from billing_usagelife where requests > 0 order by 1, 2")


def of_days_of_keys() -> list[tuple[Any, ...]]:
    """What the sums per day say, added up over all time."""
    return ask(
        "select workspace_id, key_id, sum(requests), sum(spent) from billing_usageday"
        " group by 1, 2 having sum(requests) > 0 order by 1, 2"
    )


def without_workspaces() -> list[tuple[Any, ...]]:
    """What the sums of workspaces say, added up over them."""
    keys = "day, model, provider, asset"
    sums = ", ".join(f"sum({name})" for name in summaries.MEASURES)
    return ask(
        f"select {keys}, {sums} from billing_usagemodel group by {keys}"  # noqa: S608 - fixed texts
        f" having sum(requests) > 0 order by {keys}"
    )


def catch_up() -> int:
    """
    Roll up until nothing is left for the tail; how many records were counted.

    A transaction open in any database of the server holds a roll-up back.
    """
    counted = rollups.roll_up().counted
    deadline = time.monotonic() + 120
    while hours() != usage() and time.monotonic() < deadline:
        time.sleep(0.1)
        counted += rollups.roll_up().counted
    return counted


def assert_exact() -> None:
    """Nothing is left for the tail, and the sums are the records."""
    catch_up()
    assert hours() == usage()
    assert days()


def seen(one: Customer) -> summaries.Used:
    """What a page of the customer's says now."""
    return summaries.total(workspace_id=one.workspace.pk, first=FIRST, last=LAST)


def facts(number: int) -> dict[str, Any]:
    return {
        "provider": ("first", "second")[number % 2],
        "served": "sandbox/echo",
        "status": (200, 502, None)[number % 3],
        "cancelled": number % 5 == 0,
        "input_tokens": number,
        "output_tokens": 2 * number,
        "cached_tokens": 3,
        "latency_ms": 40 if number % 2 else None,
        "first_byte_ms": 7 if number % 3 else None,
        "upstream_cost": number // 2,
    }


class TestRollUp:
    def test_sums_are_the_records(self) -> None:
        one, other = customer(usd=10**6), customer(usd=10**6, tokens=100)
        for number in range(12):
            one.use(number, want=100, **facts(number))
            other.use(number, want=50, tokens=number % 2 == 0, **facts(number))
        assert catch_up() == 24
        assert_exact()

    def test_again_it_counts_nothing(self) -> None:
        one = customer(usd=1000)
        one.use(10)
        assert catch_up() == 1
        before = hours()
        assert catch_up() == 0
        assert hours() == before

    def test_what_is_charged_late_moves_to_where_it_belongs(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(100)
        expire(hold)
        catch_up()
        assert [row[5:8] for row in hours()] == [("", "USD", 1)]
        assert verdicts(settle(bill(hold, 60, day=day, **facts(1)))) == ["late"]
        assert (seen(one).requests, seen(one).spent) == (1, 60)
        catch_up()
        assert [row[5:8] for row in hours()] == [("second", "USD", 1)]
        assert_exact()

    def test_expired_and_charged_late_between_two_runs_counts_once(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(100)
        expire(hold)
        settle(bill(hold, 60, day=day, **facts(1)))
        assert seen(one).requests == 1
        assert_exact()
        assert len(hours()) == 1

    def test_what_is_still_open_is_left_for_the_next_run(self) -> None:
        one = customer(usd=1000)
        other = customer(usd=1000)
        other.use(1)
        early, day = one.hold(100)
        with connect() as slow:
            slow.autocommit = False
            settle(bill(early, 10, day=day), run=run_on(slow))
            # Written later, committed earlier.
            other.use(20)
            rollups.roll_up()
            assert (seen(one).spent, seen(other).spent) == (0, 21)
            slow.commit()
        assert seen(one).spent == 10
        assert_exact()

    def test_a_record_charged_late_in_an_open_transaction(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(100)
        expire(hold)
        with connect() as slow:
            slow.autocommit = False
            slow.execute("select pg_current_xact_id()")
            settle(bill(hold, 60, day=day, **facts(1)))
            # The older transaction keeps both versions out of the sums, but in the tail.
            rollups.roll_up()
            assert seen(one).spent == 60
            slow.rollback()
        assert_exact()

    def test_what_is_rolled_back_is_not_counted(self) -> None:
        one = customer(usd=1000)
        hold, day = one.hold(100)
        with connect() as own:
            own.autocommit = False
            settle(bill(hold, 10, day=day), run=run_on(own))
            own.rollback()
        assert rollups.roll_up().counted == 0
        void(hold)
        assert_exact()

    def test_a_run_that_dies_leaves_nothing_behind(self) -> None:
        one = customer(usd=1000)
        one.use(10)
        with connect() as own:
            own.autocommit = False
            own.execute("select billing_roll_up()")
            [pid] = own.execute("select pg_backend_pid()").fetchone() or (0,)
            ask(f"select pg_terminate_backend({pid}, 5000)")
            with pytest.raises(psycopg.OperationalError):
                own.execute("select 1")
        assert seen(one).spent == 10
        assert_exact()

    def test_a_second_run_at_once_leaves_it_to_the_first(self) -> None:
        one = customer(usd=1000)
        one.use(10)
        with connect() as own:
            own.autocommit = False
            own.execute("select billing_roll_up()")
            assert rollups.roll_up().busy
            own.commit()
        assert_exact()

    def test_under_fire_the_sums_are_exact_and_pages_never_see_less(self) -> None:
        people = [customer(usd=10**9) for _ in range(3)]
        stop = threading.Event()

        def sell(seed: int) -> None:
            chance = random.Random(seed)
            with connect() as own:
                for number in range(60):
                    one = chance.choice(people)
                    trade(own, one, number, chance)

        def sum_up(_: int) -> None:
            with connect() as own:
                while not stop.is_set():
                    own.execute("select billing_roll_up()")

        with ThreadPoolExecutor(7) as pool:
            summing = [pool.submit(sum_up, number) for number in range(2)]
            selling = [pool.submit(sell, seed) for seed in range(4)]
            counts = []
            while not all(future.done() for future in selling):
                counts.append(sum(seen(one).requests for one in people))
            stop.set()
            for future in (*selling, *summing):
                future.result()
        assert counts == sorted(counts)
        assert sum(seen(one).requests for one in people) == 240
        assert_exact()


class TestRebuild:
    def test_sums_that_were_spoiled_are_the_records_again(self) -> None:
        one = customer(usd=1000)
        one.use(10)
        hold, day = one.hold(100)
        expire(hold)
        catch_up()
        settle(bill(hold, 60, day=day, **facts(1)))
        run("update billing_usageday set spent = spent + 1")
        run("delete from billing_usagehour")
        run("update billing_usagemodel set spent = spent + 1")
        run("update billing_usagekey set spent = spent + 1")
        run("update billing_usagetotal set spent = spent + 1")
        run("update billing_usageplace set spent = spent + 1")
        run("update billing_usagelife set spent = spent + 1")
        assert rollups.rebuild().rebuilt
        assert seen(one).spent == 70
        assert_exact()

    def test_stamps_of_another_server_are_noticed(self) -> None:
        one = customer(usd=1000)
        one.use(10)
        catch_up()
        one.use(5)
        run("update billing_usage set written = written + 1000000000000")
        run("update billing_rollupmark set through = through + 1000000000000")
        assert rollups.roll_up().rebuilt
        one.use(4)
        assert seen(one).spent == 19
        assert_exact()

    def test_sums_of_dropped_months_stay(self) -> None:
        one = customer(usd=1000)
        one.use(10)
        catch_up()
        run("update billing_usageday set day = '2001-01-01'")
        rollups.rebuild()
        kept = ask("select day, spent from billing_usageday order by day")
        assert [spent for _, spent in kept] == [10, 10]


class TestTail:
    def test_it_is_found_without_reading_the_table(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("set enable_seqscan = off")
            plan = "\n".join(
                line
                for (line,) in ask(
                    "explain select * from billing_usageflow where written >= 9000000000"
                )
            )
            cursor.execute("reset enable_seqscan")
        assert "Seq Scan on billing_usage_" not in plan


def run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def patiently(ask_: Callable[[], Any]) -> Any:
    while True:
        try:
            return ask_()
        except psycopg.errors.LockNotAvailable:
            continue


def trade(own: psycopg.Connection[Any], one: Customer, number: int, chance: random.Random) -> None:
    """One call that ends in one of the ways that calls end."""
    at = run_on(own)
    item = one.ask(100)
    [answer] = patiently(lambda: admit(item, run=at))
    closing = bill(item["id"], number, day=answer["day"], **facts(number))
    match chance.randrange(4):
        case 0:
            patiently(lambda: void(item["id"], run=at))
        case 1:
            patiently(lambda: expire(item["id"], run=at))
            patiently(lambda: settle(closing, run=at))
        case _:
            patiently(lambda: settle(closing, run=at))
