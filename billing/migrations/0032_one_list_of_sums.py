"""Load again how usage is summed: its list of sums is written once."""

from __future__ import annotations

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0031_forget_bodies")]

    operations = [run_sql("billing", "rollup")]
