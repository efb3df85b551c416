from __future__ import annotations

from typing import ClassVar

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies: ClassVar = [("accounts", "0001_initial")]
    operations: ClassVar = [run_sql("accounts", "keys")]
