from __future__ import annotations

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_keymeter_spent")]

    operations = [run_sql("billing", "quarantine")]
