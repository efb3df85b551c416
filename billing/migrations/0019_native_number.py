"""Up to which block balances of native money were looked at."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0018_doubted_deposits")]

    operations = [
        migrations.AddField(
            model_name="chaincursor",
            name="native_number",
            field=models.BigIntegerField(null=True),
        ),
    ]
