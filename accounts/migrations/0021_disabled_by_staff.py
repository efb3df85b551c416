from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0020_pages_of_keys")]

    operations = [
        migrations.AddField(
            "apikey", "disabled_by_staff", models.BooleanField(default=False, db_default=False)
        ),
        migrations.AddConstraint(
            "apikey",
            models.CheckConstraint(
                condition=models.Q(disabled_by_staff=False) | models.Q(disabled_at__isnull=False),
                name="accounts_apikey_staff_disabled",
            ),
        ),
    ]
