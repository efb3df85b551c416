"""
The parts of the benchmark; each returns its figures and raises where the books disagree.

A part that puts load on this gateway ends with `audit`: usage rows = answers, the balance
moved by exactly the sum of the prices, the invariants hold, every answer told its limits.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg

from tests.bench import contenders, databases, loads, machine
from tests.bench.contenders import Contender, Stubs
from tests.bench.databases import Books, Database
from tests.bench.loads import Run

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
CUSTOMERS = int(os.environ.get("BENCH_CUSTOMERS", "100000"))
CALLS = int(os.environ.get("BENCH_CALLS", "10000000"))
STREAMS = int(os.environ.get("BENCH_STREAMS", "32"))
CROWD_CALLS = int(os.environ.get("BENCH_CROWD_CALLS", "1000000"))
CROWD_KEYS = int(os.environ.get("BENCH_CROWD_KEYS", "10000"))
LIST_P95_MS = 200
PAGE_P95_MS = 100
IDLE = int(os.environ.get("BENCH_IDLE", "1000"))
CONNECTIONS = 32
MANY_KEYS = 1000
WARM_UP_S = 2.0
# What the stubs' answers cost: 12 and 4 tokens, 12 and 100 tokens.
WHOLE_NANOS = 12 * 1000 + 4 * 2000
STREAM_NANOS = 12 * 1000 + 100 * 2000

Figures = dict[str, Any]


class Disagreement(Exception):
    """The books say something else than the answers."""


class Ledger:
    """What one gateway on one database was asked for, to be compared with its books."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.before = databases.books(database)
        self.whole: list[Run] = []
        self.streamed: list[Run] = []

    def audit(self) -> Books:
        """
        Compare the books with the answers.

        :raises Disagreement: they differ
        """
        after = databases.books(self.database, verify=True)
        answers = sum(run.answers for run in (*self.whole, *self.streamed))
        price = WHOLE_NANOS * sum(run.answers for run in self.whole)
        price += STREAM_NANOS * sum(run.answers for run in self.streamed)
        facts = {
            "usage rows = answers": after.settled - self.before.settled == answers,
            "charged = prices": after.charged - self.before.charged == price,
            "balance moved by the sum": self.before.balance - after.balance == price,
            "no hold is left": after.held == 0,
            "caps and RPM are set": after.uncapped == 0,
            "the ledger is clean": after.ok,
            "commits are durable": after.durable == "on on",
            "every answer told its limits": not any(
                run.without_limits for run in (*self.whole, *self.streamed)
            ),
        }
        wrong = [name for name, holds in facts.items() if not holds]
        if wrong:
            raise Disagreement(f"not true: {', '.join(wrong)}; {answers=} {self.before} {after}")
        return after


def interleaved(loads_: Sequence[Callable[[], Run]]) -> list[list[Run]]:
    """Run every load once per round, one after the other; return the runs of each."""
    rounds = [[load() for load in loads_] for _ in range(ROUNDS)]
    return [list(runs) for runs in zip(*rounds, strict=True)]


def middle(runs: list[Run]) -> Figures:
    """Return the medians of a contender's runs."""
    return {
        name: round(statistics.median(getattr(run, name) for run in runs), 3)
        for name in ("per_second", "cpu_ms", "p50_ms", "p99_ms")
    }


def peers(there: Stubs) -> Figures:
    """Measure LiteLLM, Portkey and this gateway, one process each, on the same work."""
    database = databases.make("bench_peers", there, redis=2)
    with ExitStack() as stack:
        ours = stack.enter_context(
            contenders.tollgate(keys=database.keys, environment=database.environment)
        )
        three = [
            ours,
            stack.enter_context(contenders.litellm(there)),
            stack.enter_context(contenders.portkey(there)),
        ]
        ledger = Ledger(database)
        for each in three:
            _note(ledger, loads.whole(each, connections=8, seconds=WARM_UP_S))
            _note(ledger, loads.streams(each, connections=2, seconds=WARM_UP_S), streamed=True)
        idle_mb = {each.name: machine.memory_mb(each.pid) for each in three}
        busy = interleaved([_whole(each, CONNECTIONS) for each in three])
        single = interleaved([_whole(each, 1) for each in (there.nginx, *three)])
        streamed = interleaved([_streams(each) for each in three])
        memory = {each.name: machine.memory_mb(each.pid) for each in three}
    for runs, is_stream in ((busy, False), (single, False), (streamed, True)):
        for run in (run for each in runs for run in each):
            _note(ledger, run, streamed=is_stream)
    books = ledger.audit()
    direct = middle(single[0])
    figures: Figures = {"direct": direct, "postgres": books.postgres, "verify_s": books.verify_s}
    for n, each in enumerate(three):
        alone = middle(single[n + 1])
        figures[each.name] = {
            "busy": middle(busy[n]),
            "streams": middle(streamed[n]),
            "alone": alone,
            "added_p50_ms": round(alone["p50_ms"] - direct["p50_ms"], 3),
            "added_p99_ms": round(alone["p99_ms"] - direct["p99_ms"], 3),
            "memory_before_mb": idle_mb[each.name],
            "memory_mb": memory[each.name],
        }
    return figures


def two(there: Stubs) -> Figures:
    """Measure this gateway with one process and with two, alone."""
    database = databases.make("bench_two", there, redis=3, customers=MANY_KEYS, keys=MANY_KEYS)
    ledger = Ledger(database)
    figures: Figures = {}
    for workers in (1, 2):
        with contenders.tollgate(
            keys=database.keys, environment=database.environment, workers=workers
        ) as ours:
            _warm_up(ledger, ours)
            [runs] = interleaved([_whole(ours, CONNECTIONS)])
            figures[str(workers)] = middle(runs)
            for run in runs:
                _note(ledger, run)
    ledger.audit()
    return figures


def large(there: Stubs) -> Figures:
    """Measure this gateway on a large database and on an empty one, in turn."""
    began = time.monotonic()
    small = databases.make("bench_small", there, redis=4, customers=MANY_KEYS, keys=MANY_KEYS)
    big = databases.make(
        "bench_large", there, redis=5, customers=CUSTOMERS, calls=CALLS, keys=MANY_KEYS
    )
    seeded_s = time.monotonic() - began
    ledgers = [Ledger(small), Ledger(big)]
    with ExitStack() as stack:
        both = [
            stack.enter_context(contenders.tollgate(keys=each.keys, environment=each.environment))
            for each in (small, big)
        ]
        for each, ledger in zip(both, ledgers, strict=True):
            _warm_up(ledger, each)
        busy = interleaved([_whole(each, CONNECTIONS) for each in both])
        single = interleaved([_whole(each, 1) for each in both])
    for n, ledger in enumerate(ledgers):
        for run in (*busy[n], *single[n]):
            _note(ledger, run)
    books = [ledger.audit() for ledger in ledgers]
    return {
        "customers": CUSTOMERS,
        "calls": books[1].settled,
        "gigabytes": round(books[1].size_bytes / 1e9, 1),
        "seeded_s": round(seeded_s),
        "empty": {"busy": middle(busy[0]), "alone": middle(single[0])},
        "large": {"busy": middle(busy[1]), "alone": middle(single[1])},
        "verify_s": books[1].verify_s,
        "pages": databases.pages(big),
    }


def lists(there: Stubs) -> Figures:
    """
    Time the lists of the management API and the pages in a workspace with many keys and calls.

    :raises Disagreement: one of them takes longer than it may
    """
    database = databases.make(
        "bench_lists", there, redis=7, calls=CROWD_CALLS, crowd=CROWD_KEYS, keys=1
    )
    rows = databases.lists(database)
    most = {"list": LIST_P95_MS, "page": PAGE_P95_MS}
    if slow := [row for row in rows if row["p95_ms"] > most[row["kind"]]]:
        raise Disagreement(f"slower than they may be, {most} ms: {slow}")
    return {"calls": CROWD_CALLS, "keys": CROWD_KEYS, "limit_ms": LIST_P95_MS, "rows": rows} | {
        "page_limit_ms": PAGE_P95_MS
    }


def idle(there: Stubs) -> Figures:
    """Measure the memory and the database connections of streams that say nothing."""
    database = databases.make("bench_idle", there, redis=6)
    with contenders.tollgate(keys=database.keys, environment=database.environment) as ours:
        ledger = Ledger(database)
        _note(ledger, loads.whole(ours, connections=8, seconds=WARM_UP_S))
        before = (machine.memory_mb(ours.pid), _connections(database))
        with loads.idle_streams(ours, connections=IDLE) as begun:
            # Long enough for a few checkpoints of all of them.
            time.sleep(5)
            cpu = machine.cpu_seconds(ours.pid)
            time.sleep(5)
            cpu = machine.cpu_seconds(ours.pid) - cpu
            during = (machine.memory_mb(ours.pid), _connections(database))
        _settle_down(database)
    return {
        "streams": begun,
        "memory_before_mb": before[0],
        "memory_mb": during[0],
        "connections_before": before[1],
        "connections": during[1],
        "cpu_percent": round(cpu / 5 * 100, 1),
    }


def _settle_down(database: Database) -> None:
    """
    Wait until the streams whose callers hung up are settled, and look at the books.

    :raises Disagreement: a hold is left, or the books disagree with themselves
    """
    for _ in range(100):
        if databases.books(database).held == 0:
            break
        time.sleep(0.5)
    books = databases.books(database, verify=True)
    if books.held or not books.ok:
        raise Disagreement(f"after idle streams: {books}")


def _connections(database: Database) -> int:
    """Count the gateway's connections to PostgreSQL."""
    with psycopg.connect(database.environment["DATABASE_URL"]) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid()"
        ).fetchone()
    return int(row[0]) if row else 0


def _warm_up(ledger: Ledger, ours: Contender) -> None:
    """Ask until every process has seen nearly every key."""
    answers = 0
    while answers < 4 * len(ours.keys):
        run = loads.whole(ours, connections=CONNECTIONS, seconds=WARM_UP_S)
        answers += run.answers
        _note(ledger, run)


def _note(ledger: Ledger, run: Run, *, streamed: bool = False) -> None:
    if run.name == "Tollgate":
        (ledger.streamed if streamed else ledger.whole).append(run)


def _whole(contender: Contender, connections: int) -> Callable[[], Run]:
    return lambda: loads.whole(contender, connections=connections, seconds=SECONDS)


def _streams(contender: Contender) -> Callable[[], Run]:
    return lambda: loads.streams(contender, connections=STREAMS, seconds=SECONDS)
