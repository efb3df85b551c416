from __future__ import annotations

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("accounts", "0015_inviting_service_account")]

    operations = [run_sql("accounts", "audit")]
