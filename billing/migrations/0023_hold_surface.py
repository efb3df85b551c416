"""A hold says how its call was asked, for whoever has to close it."""

from __future__ import annotations

from django.db import migrations, models

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0022_polled")]

    operations = [
        migrations.AddField("hold", "surface", models.TextField(db_default="")),
        migrations.AddField("hold", "stream", models.BooleanField(db_default=False)),
        run_sql("billing", "admit"),
    ]
