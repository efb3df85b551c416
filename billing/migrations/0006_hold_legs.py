"""A hold says where its call may go, for whoever has to close it."""

from __future__ import annotations

from django.db import migrations, models

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_reload_functions")]

    operations = [
        migrations.AddField("hold", "legs", models.TextField(db_default="")),
        run_sql("billing", "admit"),
    ]
