from __future__ import annotations

from typing import ClassVar

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

NANOS_PER_USD = 1_000_000_000


def add_default_tier(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """The tier of a new workspace: 60 requests a minute, $100 a day, $1,000 a month."""
    apps.get_model("accounts", "Tier").objects.get_or_create(
        slug="default",
        defaults={
            "name": "Default",
            "default_rpm": 60,
            "max_rpm": 600,
            "default_daily_nanos": 100 * NANOS_PER_USD,
            "max_daily_nanos": 1_000 * NANOS_PER_USD,
            "default_monthly_nanos": 1_000 * NANOS_PER_USD,
            "max_monthly_nanos": 10_000 * NANOS_PER_USD,
            "min_paid_nanos": 0,
            "is_default": True,
        },
    )


class Migration(migrations.Migration):
    dependencies: ClassVar = [("accounts", "0002_key_rules")]
    operations: ClassVar = [
        migrations.RunPython(add_default_tier, migrations.RunPython.noop, elidable=False)
    ]
