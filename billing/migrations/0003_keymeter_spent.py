"""All that a key ever spent, kept by the settlement."""

from __future__ import annotations

from django.db import migrations, models

from common.sqlfiles import run_sql

FILL = """
update billing_keymeter m set spent = used.nanos
from (
    select key_id, sum(least(cost::numeric, charged::numeric * unit_nanos))::bigint as nanos
    from billing_usage group by key_id
) used
where used.key_id = m.key_id and used.nanos > 0
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_functions")]

    operations = [
        migrations.AddField("keymeter", "spent", models.BigIntegerField(db_default=0)),
        run_sql("billing", "settle"),
        migrations.RunSQL(FILL, reverse_sql=migrations.RunSQL.noop),
    ]
