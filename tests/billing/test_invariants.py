from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from billing import grants, invariants, packages
from billing.models import LedgerCheckpoint, Price, TokenPackage, Transfer, Usage
from tests.billing.bank import Customer, bill, customer, expire, settle, void

pytestmark = pytest.mark.django_db


def run(statement: str) -> None:
    """Run a statement as somebody who bypasses every rule of the tables."""
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")
        cursor.execute("set local session_replication_role = replica")
        cursor.execute(
            "select conrelid::regclass::text, conname from pg_constraint where contype = 'c'"
            " and conrelid in ('billing_account'::regclass, 'billing_transfer'::regclass,"
            " 'billing_conversion'::regclass, 'billing_usage'::regclass)"
        )
        for table, name in cursor.fetchall():
            cursor.execute(f"alter table {table} drop constraint {name}")
        cursor.execute("alter table billing_transfer drop constraint billing_transfer_once")
        cursor.execute(statement)
        assert cursor.rowcount != 0, "nothing was corrupted"
        cursor.execute("set local session_replication_role = origin")


def attempt(hold: str, *, n: int = 1, outcome: str = "won") -> None:
    """Record an upstream call."""
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into proxy_attempt (request_id, day, n, provider, upstream_model, outcome)"
            " values (%s, (now() at time zone 'UTC')::date, %s, 'sandbox', 'echo', %s)",
            [hold, n, outcome],
        )


@pytest.fixture
def books() -> Customer:
    """Return a customer with a bit of everything in the books."""
    one = customer(usd=10_000, granted=300, tokens=50, granted_tokens=5)
    price = Price.objects.create(
        subject="sandbox/echo",
        role="retail",
        effective_from=datetime(2020, 1, 1, tzinfo=UTC),
        prompt=1000,
        completion=2500,
        cached_prompt=500,
        per_call=1500,
    )
    facts: dict[str, Any] = {
        "price_id": price.pk,
        "input_tokens": 400,
        "cached_tokens": 1,
        "output_tokens": 41,
    }
    for cost, tokens, extra in (
        (505, False, {}),
        (505, True, {}),
        (100, False, {"source": "count"}),
    ):
        hold, day = one.hold(1 if tokens else min(cost, 450), tokens=tokens)
        settle(bill(hold, cost, day=day, **(facts | extra)))
        attempt(hold)
    void(one.hold(50)[0])
    expire(one.hold(50)[0])
    one.hold(70)
    one.hold(2, tokens=True)
    TokenPackage.objects.create(
        slug="starter", name="Starter", tokens=4, price_nanos=600, bonus_tokens=1
    )
    packages.buy(workspace=one.workspace, slug="starter", source=UUID(int=1))
    past = datetime(2020, 1, 1, tzinfo=UTC)
    grants.grant(workspace=one.workspace, asset="TOK", amount=9, reason="x", expires_at=past)
    grants.expire_due(now=past)
    return one


def violated(*, full: bool = False) -> set[int]:
    """Return the numbers of the invariants that are violated."""
    return {each.id for each in invariants.check(full=full).findings if each.violations}


class TestCheck:
    @pytest.mark.parametrize("full", [False, True])
    def test_sound_books_violate_nothing(self, books: Customer, *, full: bool) -> None:
        report = invariants.check(full=full)
        assert [each for each in report.findings if each.violations] == []
        assert report.ok
        assert (report.holds_pending, report.unknown_calls) == (2, 1)
        assert [each.id for each in report.findings] == list(range(1, 12))

    @pytest.mark.parametrize(
        ("number", "corruption"),
        [
            (1, "update billing_transfer set asset = 'TOK' where asset = 'USD'"),
            (1, "update billing_transfer set amount = -amount where kind = 'usage.paid'"),
            (1, "update billing_transfer set debit_id = -1 where kind = 'credit'"),
            (1, "delete from billing_conversion"),
            (1, "delete from billing_transfer where kind = 'conversion.in'"),
            (1, "delete from billing_transfer where kind = 'conversion.out'"),
            (1, "update billing_transfer set kind = 'x' where kind = 'conversion.out'"),
            (1, "update billing_transfer set amount = 5 where kind = 'conversion.in'"),
            (1, "update billing_conversion set amount = amount + 300"),
            (1, "update billing_conversion set numerator = numerator * 3"),
            (1, "update billing_conversion set spread = 1"),
            (1, "update billing_account set kind = 'elsewhere' where kind = 'trading'"),
            (2, "update billing_account set credits_posted = credits_posted + 1 where bounded"),
            (2, "update billing_account set debits_posted = debits_posted + 1 where bounded"),
            (2, "delete from billing_transfer where kind = 'credit'"),
            (2, "update billing_account set debits_pending = debits_pending + 1 where bounded"),
            (2, "update billing_account set held = held + 1 where asset = 'USD' and bounded"),
            (2, "update billing_keymeter set held = held - 1"),
            (2, "delete from billing_hold"),
            (3, "update billing_account set floor = 5000000 where bounded"),
            (4, "update billing_account set day_used = day_used + 1 where asset = 'USD'"),
            (4, "update billing_account set month_used = month_used - 1 where day_used > 0"),
            (4, "update billing_keymeter set day_used = 0"),
            (4, "delete from billing_usage where cost > 0"),
            (5, "delete from proxy_attempt"),
            (5, "insert into proxy_attempt select request_id, day, 2, provider, route_id,"
                " upstream_model, price_id, upstream_id, outcome from proxy_attempt"),
            (6, "update proxy_attempt set request_id = gen_random_uuid()"),
            (7, "delete from billing_usage where cost > 0"),
            (7, "delete from billing_transfer where kind = 'usage.uncollected'"),
            (7, "update billing_usage set charged = charged + 1, granted = granted + 1"
                " where cost > 0"),
            (8, "insert into billing_usage (id, day, workspace_id, key_id, account_id, asset,"
                " unit_nanos, hold, state, model, created_at, closed_at)"
                " select id, day, workspace_id, key_id, account_id, asset, unit_nanos, amount,"
                " 'voided', model, now(), now() from billing_hold"),
            (8, "insert into billing_usage (id, day, workspace_id, key_id, account_id, asset,"
                " unit_nanos, hold, state, model, created_at, closed_at)"
                " select id, day + 1, workspace_id, key_id, account_id, asset, unit_nanos, hold,"
                " state, model, created_at, closed_at from billing_usage"),
            (9, "update billing_hold set expires_at = now() - interval '10 minutes'"),
            (10, "update billing_usage set input_tokens = input_tokens + 1 where cost = 505"),
            (10, "update billing_usage set cost = cost + 1 where cost = 505"),
            (10, "update billing_usage set price_id = null where cost > 0"),
            (10, "update billing_price set prompt = 1002"),
            (10, "update billing_usage set charged = charged + 1 where asset = 'TOK' and cost > 0"),
            (11, "delete from billing_lot"),
            (11, "update billing_lot set amount = amount + 1"),
            (11, "update billing_lot set amount = amount + 9999, consumed = consumed + 9999"),
        ],
    )  # fmt: skip
    def test_it_finds_what_was_corrupted(
        self, books: Customer, number: int, corruption: str
    ) -> None:
        run(corruption)
        assert number in violated()
        assert number in violated(full=True)

    def test_a_doubtful_balance_names_its_workspace(self, books: Customer) -> None:
        other = customer(usd=5)
        run(f"update billing_account set credits_posted = 6 where id = {other.usd}")  # noqa: S608 - a number
        report = invariants.check()
        assert report.doubted == {other.workspace.pk}
        finding = report.findings[1]
        assert (finding.violations, len(finding.examples)) == (1, 1)

    def test_examples_are_few(self, books: Customer) -> None:
        for _ in range(invariants.MOST_SHOWN + 2):
            customer(usd=5)
        run("update billing_account set credits_posted = credits_posted + 1 where bounded")
        finding = invariants.check().findings[1]
        assert len(finding.examples) == invariants.MOST_SHOWN < finding.violations


class TestMakeCheckpoint:
    LATER = timedelta(hours=1)

    def make(self) -> int:
        """Make a checkpoint of everything there is."""
        return invariants.make_checkpoint(before=datetime.now(UTC) + self.LATER)

    def test_checks_start_from_it(self, books: Customer) -> None:
        through = self.make()
        assert through == Transfer.objects.order_by("-id")[0].pk
        assert violated() == violated(full=True) == set()
        books.use(0, want=10, source="none")
        assert violated() == set()

    def test_a_second_one_builds_on_the_first(self, books: Customer) -> None:
        self.make()
        books.use(0, want=40, source="none")
        grants.grant(workspace=books.workspace, asset="USD", amount=77, reason="x")
        self.make()
        assert LedgerCheckpoint.objects.values("through").distinct().count() == 2
        assert 2 not in violated()
        assert violated() == violated(full=True)

    def test_an_older_corruption_is_found_by_a_full_replay(self, books: Customer) -> None:
        self.make()
        run("update billing_transfer set amount = amount + 1 where kind = 'credit'")
        assert 2 not in violated()
        assert {2, 10} <= violated(full=True)

    def test_a_corrupt_checkpoint_is_found(self, books: Customer) -> None:
        self.make()
        run("update billing_ledgercheckpoint set debits = debits + 1")
        assert {1, 2} <= violated()
        assert 10 in violated(full=True)

    def test_twice_at_the_same_place_changes_nothing(self, books: Customer) -> None:
        assert self.make() == self.make()
        assert violated(full=True) == set()


class TestUnknown:
    def test_an_unknown_call_is_listed_until_evidence_comes(self, books: Customer) -> None:
        hold, _ = books.hold(10)
        expire(hold)
        assert invariants.check().unknown_calls == 2
        settle(bill(hold, 0, source="none"))
        assert invariants.check().unknown_calls == 1
        assert Usage.objects.get(pk=hold).state == "late"
