"""Transfers into suspense as staff see them: no table of their own."""

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0019_native_number")]

    operations = [
        migrations.CreateModel(
            name="Suspended",
            fields=[],
            options={
                "verbose_name": "suspended payment",
                "ordering": ["-id"],
                "proxy": True,
                "default_permissions": ["view"],
                "indexes": [],
                "constraints": [],
            },
            bases=("billing.transfer",),
        ),
    ]
