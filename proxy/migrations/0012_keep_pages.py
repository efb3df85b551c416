"""Leave the emptied pages of calls in flight to the next ones, as with the holds."""

from __future__ import annotations

from django.db import migrations

HOT = ("proxy_checkpoint", "proxy_idempotencykey")


class Migration(migrations.Migration):
    dependencies = [("proxy", "0011_prompt_logs")]

    operations = [
        migrations.RunSQL(
            f"alter table {table} set (vacuum_truncate = off)",
            f"alter table {table} reset (vacuum_truncate)",
        )
        for table in HOT
    ]
