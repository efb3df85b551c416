from __future__ import annotations

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("accounts", "0017_prompt_logging")]

    operations = [run_sql("accounts", "audit")]
