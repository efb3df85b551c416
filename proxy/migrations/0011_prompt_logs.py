from __future__ import annotations

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0010_trials"),
    ]

    operations = [
        migrations.CreateModel(
            name="PromptErasure",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("workspace_id", models.BigIntegerField(null=True)),
                ("key_id", models.BigIntegerField(null=True)),
                ("before", models.DateTimeField()),
            ],
            options={
                "ordering": ("id",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("key_id__isnull", False), ("workspace_id", None))
                        | models.Q(("key_id", None), ("workspace_id__isnull", False)),
                        name="proxy_prompterasure_whose",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="PromptLog",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("workspace_id", models.BigIntegerField()),
                ("key_id", models.BigIntegerField()),
                ("sealed", models.BinaryField()),
                ("sealed_key_id", models.TextField()),
                ("bytes", models.IntegerField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        fields=["workspace_id", "created_at"], name="proxy_promptlog_workspace"
                    ),
                    models.Index(fields=["key_id", "created_at"], name="proxy_promptlog_key"),
                ],
            },
        ),
    ]
