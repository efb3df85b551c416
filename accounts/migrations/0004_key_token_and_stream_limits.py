"""Optional limits of a key: tokens per minute, streams at once."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("accounts", "0003_default_tier")]
    operations: ClassVar = [
        migrations.AddField("apikey", "tpm", models.PositiveIntegerField(blank=True, null=True)),
        migrations.AddField(
            "apikey", "max_streams", models.PositiveIntegerField(blank=True, null=True)
        ),
    ]
