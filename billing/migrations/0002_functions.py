from __future__ import annotations

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]

    operations = [
        run_sql("billing", "clock"),
        run_sql("billing", "accounts"),
        run_sql("billing", "admit"),
        run_sql("billing", "settle"),
        run_sql("billing", "close"),
        run_sql("billing", "post"),
    ]
