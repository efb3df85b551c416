"""Calls that try a provider out, and unknown calls as staff see them."""

from __future__ import annotations

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0016_staff"),
        ("proxy", "0009_incidents"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Trial",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("token", models.UUIDField(default=uuid.uuid4, unique=True)),
                ("route_id", models.BigIntegerField()),
                ("upstream_model", models.TextField()),
                ("upstream_id", models.TextField(default="")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("answered", "Answered"),
                            ("failed", "Failed"),
                        ],
                        default="running",
                        max_length=16,
                    ),
                ),
                ("status", models.SmallIntegerField(null=True)),
                ("problem", models.CharField(default="", max_length=200)),
                ("input_tokens", models.BigIntegerField(default=0)),
                ("output_tokens", models.BigIntegerField(default=0)),
                ("cost_nanos", models.BigIntegerField(default=0)),
                ("estimate", models.BooleanField(default=False)),
                ("latency_ms", models.IntegerField(null=True)),
                ("reason", models.TextField()),
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
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="trials",
                        to="proxy.provider",
                    ),
                ),
            ],
            options={
                "ordering": ["-at"],
                "indexes": [models.Index(fields=["provider", "-at"], name="proxy_trial_page")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("cost_nanos__gte", 0)), name="proxy_trial_cost"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="UnknownCall",
            fields=[],
            options={
                "ordering": ["-id"],
                "proxy": True,
                "default_permissions": ["view"],
                "indexes": [],
                "constraints": [],
            },
            bases=("billing.usage",),
        ),
    ]
