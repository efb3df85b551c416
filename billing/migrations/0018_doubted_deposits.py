"""Why a deposit waits for a person, that it may be rejected, and what became of unlisted tokens."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models import Q

STATES = ("accumulating", "suspended", "credited", "converted", "kept", "rejected")
DOUBTS = {
    "": "nothing",
    "large": "larger than is credited unseen",
    "blocked": "a sender on this server's own list",
    "listed": "a sender on the list of sanctions",
    "unscreened": "the list of sanctions gave no answer",
    "unseen": "a contract sent it: its sender cannot be seen",
    "closed": "the workspace is closed",
}
RESOLUTIONS = {
    "": "open",
    "worthless": "worthless: nothing is done",
    "returned": "sent back by hand",
    "credited": "listed now: what arrived is credited",
}
FILL = "update billing_unlistedtoken set first_block = block_number"


class Migration(migrations.Migration):
    dependencies = [("billing", "0017_shared_cards")]

    operations = [
        migrations.RemoveConstraint(model_name="deposit", name="billing_deposit_credited_or_not"),
        migrations.AddField(
            model_name="deposit",
            name="doubt",
            field=models.CharField(
                blank=True, choices=list(DOUBTS.items()), default="", max_length=16
            ),
        ),
        migrations.AlterField(
            model_name="deposit",
            name="state",
            field=models.CharField(
                choices=[(state, state.capitalize()) for state in STATES],
                default="accumulating",
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="deposit",
            constraint=models.CheckConstraint(
                condition=Q(
                    state__in=["accumulating", "suspended", "rejected"], units=0, credited_at=None
                )
                | Q(
                    state__in=["credited", "converted", "kept"],
                    units__gte=0,
                    credited_at__isnull=False,
                ),
                name="billing_deposit_credited_or_not",
            ),
        ),
        migrations.AddField(
            model_name="unlistedtoken",
            name="first_block",
            field=models.BigIntegerField(default=0),
            preserve_default=False,
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="unlistedtoken",
            name="resolution",
            field=models.CharField(
                blank=True, choices=list(RESOLUTIONS.items()), default="", max_length=16
            ),
        ),
        migrations.AlterField(
            model_name="unlistedtoken",
            name="block_number",
            field=models.BigIntegerField(help_text="Of the last transfer."),
        ),
    ]
