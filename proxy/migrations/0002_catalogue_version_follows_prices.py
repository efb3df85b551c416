from __future__ import annotations

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parents[1] / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0001_initial"),
        ("billing", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(
            sql=(SQL / "catalogueversion_price.sql").read_text(),
            reverse_sql="drop trigger raise_catalogue_version on billing_price",
        ),
    ]
