"""How a call ended is kept with its attempt; a route says how often it may search the web."""

from __future__ import annotations

import django.core.validators
from django.db import migrations, models

ADD = "alter table proxy_attempt add column finish_reason text not null default ''"
DROP = "alter table proxy_attempt drop column finish_reason"


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0003_kept_answers"),
    ]

    operations = [
        # The table is partitioned and not Django's, so Django is only told of the column.
        migrations.RunSQL(ADD, DROP),
        migrations.AddField(
            model_name="attempt",
            name="finish_reason",
            field=models.TextField(default=""),
        ),
        migrations.AddField(
            model_name="route",
            name="max_searches",
            field=models.PositiveSmallIntegerField(
                blank=True,
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
    ]
