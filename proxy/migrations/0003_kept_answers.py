from __future__ import annotations

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0002_index_unknown_calls"),
    ]

    operations = [
        migrations.CreateModel(
            name="Generation",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("workspace_id", models.BigIntegerField()),
                ("key_id", models.BigIntegerField()),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("pending", "Pending"),
                            ("completed", "Completed"),
                            ("failed", "Failed"),
                        ],
                        default="pending",
                    ),
                ),
                ("model", models.TextField()),
                ("background", models.BooleanField(default=False)),
                ("claimed_at", models.DateTimeField(null=True)),
                ("sealed", models.BinaryField(null=True)),
                ("sealed_key_id", models.TextField(default="")),
                ("drafted", models.BooleanField(default=False)),
                ("tokens_used", models.BigIntegerField(default=0)),
                ("balance_remaining", models.BigIntegerField(null=True)),
                ("error", models.JSONField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(fields=["expires_at"], name="proxy_generation_expires"),
                    models.Index(
                        condition=models.Q(("status", "pending")),
                        fields=["created_at"],
                        name="proxy_generation_pending",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ("pending", "completed", "failed"))),
                        name="proxy_generation_status",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("key_id", models.BigIntegerField()),
                ("endpoint", models.TextField()),
                ("digest", models.BinaryField()),
                ("fingerprint", models.BinaryField()),
                ("request_id", models.UUIDField()),
                ("finished_at", models.DateTimeField(null=True)),
                ("answer", models.BinaryField(null=True)),
                ("answer_key_id", models.TextField(default="")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(fields=["expires_at"], name="proxy_idempotencykey_expires")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("key_id", "endpoint", "digest"), name="proxy_idempotencykey_once"
                    )
                ],
            },
        ),
    ]
