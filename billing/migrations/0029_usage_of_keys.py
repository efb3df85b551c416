"""What each key spent in all, to find the dearest of some days among very many."""

from __future__ import annotations

from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0028_losses")]

    operations = [
        # A roll-up between the two steps would be missing in the new table.
        migrations.RunSQL(
            "lock table billing_rollupmark in exclusive mode", migrations.RunSQL.noop
        ),
        run_sql("billing", "usagelife"),
        run_sql("billing", "rollup"),
    ]
