"""Calls whose estimate gave way to evidence, and the function that books the difference."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0023_hold_surface")]

    operations = [
        run_sql("billing", "revision"),
        run_sql("billing", "revise"),
        migrations.CreateModel(
            name="Revision",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("day", models.DateField()),
                ("asset", models.TextField()),
                ("unit_nanos", models.BigIntegerField()),
                ("old_state", models.TextField()),
                ("old_source", models.TextField()),
                ("old_cost", models.BigIntegerField()),
                ("old_granted", models.BigIntegerField()),
                ("old_charged", models.BigIntegerField()),
                ("old_uncollected", models.BigIntegerField()),
                ("source", models.TextField()),
                ("cost", models.BigIntegerField()),
                ("granted", models.BigIntegerField()),
                ("charged", models.BigIntegerField()),
                ("uncollected", models.BigIntegerField()),
                ("at", models.DateTimeField()),
                (
                    "workspace",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="accounts.workspace",
                    ),
                ),
            ],
            options={
                "db_table": "billing_revision",
                "ordering": ["-at"],
                "managed": False,
                "verbose_name": "corrected call",
            },
        ),
    ]
