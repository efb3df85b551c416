"""Let the body of an event go while its id stays."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("billing", "0030_keep_pages")]

    operations = [
        migrations.AlterField("stripeevent", "body", models.JSONField(null=True)),
        migrations.AddIndex(
            "stripeevent",
            models.Index(
                fields=["received_at"],
                condition=Q(body__isnull=False) & ~Q(outcome="waiting"),
                name="billing_stripeevent_bodies",
            ),
        ),
    ]
