from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0011_impersonation")]

    operations = [
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(
                fields=["workspace", "action", "-id"], name="accounts_auditevent_action"
            ),
        ),
    ]
