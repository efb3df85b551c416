"""A checkpoint keeps all that was told of a stream; an unknown call keeps what it may have cost."""

from __future__ import annotations

from django.db import migrations, models

ADD = "alter table proxy_attempt add column searches bigint not null default 0"
DROP = "alter table proxy_attempt drop column searches"
COUNTS = ("cached_tokens", "cache_write_tokens", "reasoning_tokens", "searches")


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0006_exports"),
    ]

    operations = [
        # A gateway of the version before goes on writing rows without these.
        *(
            migrations.AddField(
                model_name="checkpoint",
                name=name,
                field=models.BigIntegerField(db_default=0),
            )
            for name in COUNTS
        ),
        migrations.AddField(
            model_name="checkpoint",
            name="upstream_id",
            field=models.TextField(db_default=""),
        ),
        # The table is partitioned and not Django's, so Django is only told of the column.
        migrations.RunSQL(ADD, DROP),
        migrations.AddField(
            model_name="attempt",
            name="searches",
            field=models.BigIntegerField(default=0),
        ),
    ]
