from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0021_plurals"),
    ]

    operations = [
        migrations.AddField(
            model_name="refund",
            name="polled_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="claim",
            name="polled_at",
            field=models.DateTimeField(null=True),
        ),
    ]
