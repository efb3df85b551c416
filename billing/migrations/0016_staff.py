"""Customers as staff see them, the forms that staff sent, and what they look for among calls."""

from __future__ import annotations

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_weeks_of_keys"), ("accounts", "0009_audit_strangers")]

    operations = [
        migrations.CreateModel(
            name="Customer",
            fields=[],
            options={
                "ordering": ["-id"],
                "proxy": True,
                "default_permissions": ["view"],
                "indexes": [],
                "constraints": [],
            },
            bases=("accounts.workspace",),
        ),
        migrations.CreateModel(
            name="StaffStep",
            fields=[
                ("token", models.UUIDField(primary_key=True, serialize=False)),
                ("step", models.CharField(max_length=64)),
                ("target", models.CharField(max_length=64)),
                (
                    "at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"ordering": ["-at"]},
        ),
        run_sql("billing", "staffindexes"),
    ]
