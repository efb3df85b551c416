"""Sums of usage per hour and per day, and the tail that is not in them yet."""

from __future__ import annotations

from datetime import date

from django.db import migrations

from billing import partitions
from common.sqlfiles import run_sql


def make_months(apps, schema_editor):
    """Give the sums every month that usage has."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "select right(c.relname, 7) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            " join pg_class p on p.oid = i.inhparent"
            " where p.relname = 'billing_usage' and p.relkind = 'p'"
        )
        firsts = [date.fromisoformat(f"{name.replace('_', '-')}-01") for (name,) in cursor]
        for first in firsts:
            end = partitions.month_start(first, after=1)
            cursor.execute(
                f"create table billing_usagehour_{first:%Y_%m} partition of billing_usagehour"
                f" for values from ('{first}') to ('{end}')"
            )


class Migration(migrations.Migration):
    dependencies = [("billing", "0006_hold_legs")]

    operations = [
        run_sql("billing", "rollups"),
        run_sql("billing", "rollup"),
        migrations.RunPython(make_months, migrations.RunPython.noop),
    ]
