"""Each mistake that could be made in the SQL of money is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.db import transaction
from pytest_django import DjangoDbBlocker

from billing import ledger
from tests import database
from tests.billing.bank import Customer, customer, expire
from tests.billing.model import Books
from tests.billing.twin import CLEARING, Twin
from tests.mutations import guards, harmless, page, surgery
from tests.mutations.admission import ADMISSION
from tests.mutations.converting import CONVERTING
from tests.mutations.funding import FUNDING
from tests.mutations.guards import Mutant
from tests.mutations.locking import LOCKS
from tests.mutations.posting import OPENING, POSTING
from tests.mutations.programs import PROGRAMS
from tests.mutations.revising import REVISING
from tests.mutations.settlement import SETTLEMENT, holds_get_more_time
from tests.mutations.steps import Scenario
from tests.mutations.tables import TABLES

SUITES: dict[str, tuple[Scenario, ...]] = {
    "admit.sql": (*ADMISSION, *LOCKS, *PROGRAMS),
    "settle.sql": (*SETTLEMENT, *LOCKS, *PROGRAMS),
    "funding.sql": FUNDING,
    "post.sql": (*POSTING, *LOCKS, *PROGRAMS),
    "close.sql": (holds_get_more_time, *SETTLEMENT),
    "accounts.sql": (*OPENING, *SETTLEMENT),
    "convert.sql": CONVERTING,
    "conversion.sql": TABLES,
    "revise.sql": REVISING,
    "revision.sql": TABLES,
    "tables.sql": TABLES,
}


@dataclass(frozen=True, slots=True)
class Shop:
    """Committed customers, and their books as every scenario finds them."""

    customers: tuple[Customer, ...]
    books: Books


@pytest.fixture(scope="module")
def shop(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Shop]:
    """Give customers whose rows are committed, so that another connection sees them."""
    with django_db_blocker.unblock():
        try:
            rich = customer(usd=1000, granted=300, tokens=50, granted_tokens=5)
            poor = customer(usd=20_000_000, tokens=3)
            busy = customer(usd=500, granted=200, tokens=9)
            busy.hold(100)
            for one, tokens in ((busy, False), (busy, True), (rich, False)):
                expire(one.hold(5, tokens=tokens)[0])
            # Made while it is committed, or each scenario would make it.
            ledger.house_account(kind=CLEARING, asset="USD")
            yield Shop((rich, poor, busy), Books.read())
        finally:
            database.restore()


def play(scenario: Scenario, shop: Shop) -> None:
    """Run a scenario; in the end every row has to be what the model says."""
    twin = Twin(*shop.customers, books=shop.books)
    scenario(twin)
    if not twin.apart:
        twin.agree()


def killer(shop: Shop, suite: tuple[Scenario, ...]) -> Exception | None:
    """Return what the first scenario that fails says."""
    for scenario in suite:
        sid = transaction.savepoint()
        try:
            play(scenario, shop)
        except Exception as error:
            return error
        finally:
            transaction.savepoint_rollback(sid)
    return None


@pytest.mark.django_db
class TestScenarios:
    @pytest.mark.parametrize(
        "scenario",
        sorted({each for suite in SUITES.values() for each in suite}, key=repr),
        ids=lambda each: getattr(each, "__name__", "program"),
    )
    def test_it_passes_on_the_sql_as_it_is(self, shop: Shop, scenario: Scenario) -> None:
        play(scenario, shop)


MUTANTS = [each for each in guards.all_mutants() if harmless.reason(each) is None]


@pytest.mark.django_db
class TestMutants:
    @pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
    def test_it_is_killed(self, shop: Shop, mutant: Mutant) -> None:
        surgery.apply(mutant)
        assert killer(shop, SUITES[mutant.file]) is not None, mutant.change


class TestGuards:
    def test_every_file_of_sql_is_looked_at_or_left_out_for_a_reason(self) -> None:
        assert set(guards.files()) == set(SUITES)
        assert all((guards.SQL / name).exists() for name in guards.LEFT_OUT)

    def test_there_are_many(self) -> None:
        assert len(MUTANTS) > 500

    @pytest.mark.parametrize(
        ("line", "wrong"),
        [
            ("    if a >= b then", "if a > b then"),
            ("    where a = any(b) and c < d;", "where a = any(b) or c < d;"),
            ("    on conflict (a) do nothing;", ";"),
            ("    x := greatest(y - z, 0);", "x := greatest(y + z, 0);"),
            (
                "    update t set a = a + b, c = d where e;",
                "update t set a = a + b, c = t.c where e;",
            ),
            ("    for no key update skip locked", "for no key update"),
        ],
    )
    def test_a_new_guard_is_a_mutant_at_once(
        self, monkeypatch: pytest.MonkeyPatch, line: str, wrong: str
    ) -> None:
        monkeypatch.setattr(guards, "read", lambda _: f"begin\n{line}\nend;")
        assert wrong in [each.change for each in guards.mutants("new.sql")]

    def test_comments_and_words_are_no_guards(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(guards, "read", lambda _: "-- if a > b\nx := 'a > b';")
        assert guards.mutants("new.sql") == []


class TestHarmless:
    def test_each_exception_is_of_a_mutant_that_exists(self) -> None:
        found = {(each.file, each.change) for each in guards.all_mutants()}
        assert set(harmless.HARMLESS) - found == set()


class TestPage:
    def test_it_lists_the_mutants_of_today(self) -> None:
        wanted = "run: PYTHONPATH=platform .venv/bin/python -m tests.mutations.page"
        assert page.PAGE.read_text("utf-8") == page.text() + "\n", wanted
