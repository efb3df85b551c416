from __future__ import annotations

from django.db import migrations, models

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [("accounts", "0016_persons_in_audit")]

    operations = [
        migrations.AddField(
            "workspace", "prompt_logging", models.BooleanField(default=False, db_default=False)
        ),
        migrations.AddField(
            "workspace", "prompt_days", models.PositiveSmallIntegerField(default=7, db_default=7)
        ),
        migrations.AddField(
            "apikey", "prompt_logging", models.BooleanField(default=True, db_default=True)
        ),
        migrations.AddConstraint(
            "workspace",
            models.CheckConstraint(
                condition=models.Q(prompt_days__range=(1, 30)),
                name="accounts_workspace_prompt_days",
            ),
        ),
        run_sql("accounts", "keys"),
    ]
