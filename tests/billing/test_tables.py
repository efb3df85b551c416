"""What the database itself refuses, whoever asks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from billing import ledger
from billing.models import Account, Hold, Price, Transfer
from common import ids
from tests.billing.bank import customer

pytestmark = pytest.mark.django_db


def refused(statement: str, parameters: list[Any] | None = None) -> str:
    """Run a statement that must fail and return what the database says."""
    with pytest.raises(IntegrityError) as error, transaction.atomic(), connection.cursor() as run:
        run.execute(statement, parameters)
    return str(error.value)


def transfer(**changes: Any) -> tuple[str, list[Any]]:
    """Return a raw insert of a transfer from the house to a customer."""
    one = customer(usd=1000)
    row = {
        "kind": "test",
        "source": ids.request_id(),
        "debit_id": ledger.house_account(kind="test", asset="USD"),
        "credit_id": one.usd,
        "asset": "USD",
        "amount": 5,
    } | changes
    statement = (
        "insert into billing_transfer (kind, source, debit_id, credit_id, asset, amount)"
        " values (%s, %s, %s, %s, %s, %s)"
    )
    return statement, list(row.values())


class TestTransfer:
    @pytest.mark.parametrize(
        "statement",
        [
            "update billing_transfer set amount = 1",
            "delete from billing_transfer",
            "delete from billing_transfer where false",
            "truncate billing_transfer",
        ],
    )
    def test_it_is_append_only(self, statement: str) -> None:
        customer(usd=1000)
        assert "append-only" in refused(statement)
        assert Transfer.objects.count() == 1

    def test_a_whole_one_is_accepted(self) -> None:
        statement, row = transfer()
        with connection.cursor() as cursor:
            cursor.execute(statement, row)

    @pytest.mark.parametrize("amount", [0, -1])
    def test_an_amount_is_positive(self, amount: int) -> None:
        assert "amount" in refused(*transfer(amount=amount))

    def test_money_does_not_cross_assets(self) -> None:
        assert "billing_transfer_debit" in refused(
            *transfer(debit_id=ledger.house_account(kind="test", asset="TOK"))
        )
        assert "violates foreign key" in refused(*transfer(asset="TOK"))

    def test_it_has_two_accounts(self) -> None:
        house = ledger.house_account(kind="test", asset="USD")
        assert "two_accounts" in refused(*transfer(debit_id=house, credit_id=house))

    def test_an_external_object_is_booked_once(self) -> None:
        statement, row = transfer()
        with connection.cursor() as cursor:
            cursor.execute(statement, row)
        assert "billing_transfer_once" in refused(statement, row)

    def test_amounts_of_78_digits_are_exact(self) -> None:
        amount = 10**77 + 1
        accounts = {
            "debit_id": ledger.house_account(kind="deposit", asset="1:eth"),
            "credit_id": ledger.house_account(kind="trading", asset="1:eth"),
        }
        statement, row = transfer(asset="1:eth", amount=amount, **accounts)
        with connection.cursor() as cursor:
            cursor.execute(statement, row)
        assert Transfer.objects.get(asset="1:eth").amount == amount


class TestPrice:
    @pytest.mark.parametrize(
        "statement",
        [
            "update billing_price set prompt = 0",
            "delete from billing_price",
            "truncate billing_price",
        ],
    )
    def test_versions_are_append_only(self, statement: str) -> None:
        Price.objects.create(
            subject="m", role="retail", effective_from=datetime(2031, 1, 1, tzinfo=UTC)
        )
        assert "append-only" in refused(statement)


class TestAccount:
    @pytest.mark.parametrize(
        "change",
        [
            "debits_posted = 1001",
            "floor = 1",
            "floor = 1001",
            "debits_pending = -1",
            "day_used = -1",
            "held = -1",
            "day_cap = -1",
            "bounded = false",
            "kind = 'revenue'",
            "workspace_id = null",
        ],
    )
    def test_a_customers_account_stays_in_its_bounds(self, change: str) -> None:
        one = customer(usd=1000)
        refused(f"update billing_account set {change} where id = {one.usd}")  # noqa: S608 - fixed texts

    def test_the_houses_accounts_keep_no_counters(self) -> None:
        house = ledger.house_account(kind="revenue", asset="USD")
        refused(f"update billing_account set credits_posted = 1 where id = {house}")  # noqa: S608 - a number

    def test_there_is_one_of_a_kind(self) -> None:
        one = customer()
        refused(
            "insert into billing_account (workspace_id, kind, asset, bounded)"
            " values (%s, 'paid', 'USD', true)",
            [one.workspace.pk],
        )
        ledger.house_account(kind="revenue", asset="USD")
        refused("insert into billing_account (kind, asset) values ('revenue', 'USD')")

    def test_accounts_with_transfers_are_never_deleted(self) -> None:
        one = customer(usd=1000)
        assert "billing_transfer" in refused("delete from billing_account where id = %s", [one.usd])


class TestHold:
    @pytest.mark.parametrize(
        "change", ["amount = 0", "granted = -1", "granted = 11", "unit_nanos = 0"]
    )
    def test_it_stays_in_its_bounds(self, change: str) -> None:
        customer(usd=1000).hold(10)
        refused(f"update billing_hold set {change}")  # noqa: S608 - fixed texts
        assert Hold.objects.get().amount == 10


class TestUsage:
    @pytest.mark.parametrize(
        "change",
        [
            "charged = 11",
            "charged = -1",
            "granted = 6",
            "uncollected = -1",
            "cost = -1",
            "state = 'free'",
            "source = 'guess'",
            "state = 'voided'",
        ],
    )
    def test_it_stays_in_its_bounds(self, change: str) -> None:
        one = customer(usd=1000)
        one.use(5, want=10)
        refused(f"update billing_usage set {change}")  # noqa: S608 - fixed texts


class TestHotRows:
    def test_there_is_room_on_the_page_for_updates(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "select count(*) from pg_class where reloptions = '{fillfactor=80}'"
                " and relname in ('billing_account', 'billing_keymeter')"
            )
            assert cursor.fetchone() == (2,)

    def test_no_vacuum_locks_calls_out_to_make_a_table_shorter(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "select relname from pg_class where 'vacuum_truncate=off' = any(reloptions)"
                " order by relname"
            )
            assert [name for (name,) in cursor.fetchall()] == [
                "billing_hold",
                "proxy_checkpoint",
                "proxy_idempotencykey",
            ]

    def test_the_counters_are_in_no_index(self) -> None:
        hot = {"credits_posted", "debits_posted", "debits_pending", "day_used", "month_used"}
        with connection.cursor() as cursor:
            cursor.execute(
                "select indexdef from pg_indexes"
                " where tablename in ('billing_account', 'billing_keymeter')"
            )
            assert not [row for row in cursor.fetchall() if any(name in row[0] for name in hot)]

    def test_functions_do_not_trust_stale_plans(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "select proname from pg_proc"
                " where proname in ('billing_admit', 'billing_settle', 'billing_revise')"
                " and proconfig @> array['enable_seqscan=off', 'jit=off', 'lock_timeout=100ms',"
                " 'plan_cache_mode=force_generic_plan']"
            )
            assert len(cursor.fetchall()) == 3

    def test_the_accounts_of_the_house_are_not_counted(self) -> None:
        one = customer(usd=1000)
        one.use(10)
        house = Account.objects.filter(workspace=None)
        assert house.count() == 2
        assert all(account.credits_posted == account.debits_posted == 0 for account in house)
