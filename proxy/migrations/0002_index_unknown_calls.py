from __future__ import annotations

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("proxy", "0001_initial")]

    operations = [run_sql("proxy", "unknown")]
