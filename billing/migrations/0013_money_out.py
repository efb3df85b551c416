"""What leaves a paid account is bounded by what was paid; a floor is credit for calls only."""

from __future__ import annotations

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0012_usage_without_keys")]

    operations = [run_sql("billing", "post"), run_sql("billing", "funding")]
