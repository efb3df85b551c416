from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

# Open invitations that a service account's key sent before: the audit log knows which one.
NAME_WHO_INVITED = """
    update accounts_invitation i
    set invited_by_service_id = (
        select e.service_account_id from accounts_auditevent e
        where e.target = i.public_id and e.action in ('invitation.created', 'invitation.resent')
        order by e.id desc limit 1)
    where i.invited_by_id is null and i.accepted_at is null and i.revoked_at is null
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0014_plurals")]

    operations = [
        migrations.AddField(
            model_name="invitation",
            name="invited_by_service",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="accounts.serviceaccount",
            ),
        ),
        migrations.RunSQL(NAME_WHO_INVITED, migrations.RunSQL.noop),
    ]
