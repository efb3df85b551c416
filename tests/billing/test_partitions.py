from __future__ import annotations

from datetime import date

import pytest
from django.db import connection, transaction

from billing import partitions, tasks
from tests.billing import bank

pytestmark = pytest.mark.django_db

FAR = date(2041, 12, 15)


class TestMonthStart:
    @pytest.mark.parametrize(
        ("day", "after", "start"),
        [
            (date(2031, 1, 31), 0, date(2031, 1, 1)),
            (date(2031, 1, 31), 1, date(2031, 2, 1)),
            (date(2031, 12, 31), 1, date(2032, 1, 1)),
            (date(2031, 1, 31), -1, date(2030, 12, 1)),
            (date(2031, 6, 1), 12, date(2032, 6, 1)),
        ],
    )
    def test_it_counts_over_years(self, day: date, after: int, start: date) -> None:
        assert partitions.month_start(day, after=after) == start


class TestMakeMonths:
    def test_the_first_migration_made_a_year(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("select min(applied) from django_migrations where app = 'billing'")
            made = cursor.fetchone()[0].date()
        assert partitions.missing_months(tables=["billing_usage"], today=made, ahead=12) == []

    def test_it_makes_what_is_missing_once(self) -> None:
        made = partitions.make_months(tables=["billing_usage"], today=FAR, behind=0, ahead=1)
        assert made == ["billing_usage_2041_12", "billing_usage_2042_01"]
        assert partitions.make_months(tables=["billing_usage"], today=FAR, behind=0, ahead=1) == []

    def test_a_new_month_has_the_parents_indexes_and_rules(self) -> None:
        partitions.make_months(tables=["billing_usage"], today=FAR, behind=0, ahead=0)
        count = "select count(*) from pg_index where indrelid = %s::regclass"
        with connection.cursor() as cursor:
            cursor.execute(count, ["billing_usage"])
            parents = cursor.fetchone()
            cursor.execute(count, ["billing_usage_2041_12"])
            assert cursor.fetchone() == parents

    def test_no_table_has_a_default_partition(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("select count(*) from pg_partitioned_table where partdefid <> 0")
            assert cursor.fetchone() == (0,)

    def test_a_table_that_does_not_exist_is_passed_over(self) -> None:
        assert partitions.make_months(tables=["nobody"]) == []


class TestMissingMonths:
    def test_it_names_the_next_months_that_do_not_exist(self) -> None:
        missing = partitions.missing_months(tables=["billing_usage"], today=FAR)
        assert missing == [f"billing_usage_{month}" for month in ("2041_12", "2042_01", "2042_02")]

    def test_nothing_is_missing_of_any_table(self) -> None:
        tasks.make_partitions()
        assert partitions.missing_months() == []


class TestFirstMonth:
    def test_it_is_the_oldest_partition(self) -> None:
        first = partitions.first_month(table="billing_usage")
        assert first is not None
        assert first.day == 1
        assert partitions.first_month(table="nobody") is None


@pytest.mark.django_db(transaction=True)
class TestReaders:
    def test_an_open_reader_does_not_stop_a_new_month(self) -> None:
        with bank.connect() as reader:
            reader.execute("begin")
            reader.execute("select count(*) from billing_usage")
            partitions.make_months(tables=["billing_usage"], today=FAR, behind=0, ahead=0)
            reader.execute("rollback")
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("alter table billing_usage detach partition billing_usage_2041_12")
            cursor.execute("drop table billing_usage_2041_12")
