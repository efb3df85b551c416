from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0019_audit_by_time")]

    operations = [
        migrations.AddIndex(
            "apikeyworkspace",
            models.Index(fields=["workspace", "-key"], name="accounts_apikeyworkspace_page"),
        ),
        # The new one begins with the same column.
        migrations.AlterField(
            "apikeyworkspace",
            "workspace",
            models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="key_workspaces",
                to="accounts.workspace",
            ),
        ),
    ]
