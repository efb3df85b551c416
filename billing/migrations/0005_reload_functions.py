"""The locking reads leave no index but that of the ids to choose."""

from __future__ import annotations

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_index_quarantine")]

    operations = [
        run_sql("billing", "admit"),
        run_sql("billing", "settle"),
        run_sql("billing", "close"),
        run_sql("billing", "post"),
    ]
