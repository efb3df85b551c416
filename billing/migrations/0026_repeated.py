"""A call that was made again under its Idempotency-Key is charged once."""

from __future__ import annotations

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0025_usage_of_all")]

    operations = [run_sql("billing", "revise")]
