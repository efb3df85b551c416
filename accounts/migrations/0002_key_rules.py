from __future__ import annotations

from typing import ClassVar

from common.sqlfiles import run_sql
from django.db import migrations


class Migration(migrations.Migration):
    dependencies: ClassVar = [("accounts", "0001_initial")]
    operations: ClassVar = [run_sql("accounts", "keys")]
