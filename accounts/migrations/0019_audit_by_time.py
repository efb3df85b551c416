from __future__ import annotations

from django.db import migrations, models

INDEXES = {
    "accounts_auditevent_page": ["workspace"],
    "accounts_auditevent_target": ["target"],
    "accounts_auditevent_action": ["workspace", "action"],
}


class Migration(migrations.Migration):
    dependencies = [("accounts", "0018_exact_mentions")]

    operations = [
        *(migrations.RemoveIndex("auditevent", name) for name in INDEXES),
        *(
            migrations.AddIndex(
                "auditevent", models.Index(fields=[*fields, "-at", "-id"], name=name)
            )
            for name, fields in INDEXES.items()
        ),
    ]
