"""
Leave the emptied pages of the holds to the next calls.

To give them back, autovacuum locks the table against everybody; calls that are admitted then
would meet their lock timeout (PostgreSQL: ``vacuum_truncate``).
"""

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0029_usage_of_keys")]

    operations = [
        migrations.RunSQL(
            "alter table billing_hold set (vacuum_truncate = off)",
            "alter table billing_hold reset (vacuum_truncate)",
        ),
    ]
