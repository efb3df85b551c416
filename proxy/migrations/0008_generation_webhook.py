from django.db import migrations

from common.sqlfiles import run_sql


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_webhooks"),
        ("proxy", "0007_checkpoint_buckets"),
    ]

    operations = [run_sql("proxy", "generationwebhook")]
