"""What calls cost beyond what they charge is told to operators."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0027_usage_of_places")]

    operations = [
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[
                    ("cap.threshold", "Cap Threshold"),
                    ("balance.low", "Balance Low"),
                    ("ledger.violation", "Ledger Violation"),
                    ("settlement.refused", "Settlement Refused"),
                    ("usage.uncollected", "Usage Uncollected"),
                    ("spool.trouble", "Spool Trouble"),
                    ("provider.drift", "Provider Drift"),
                    ("provider.unavailable", "Provider Unavailable"),
                    ("chain.trouble", "Chain Trouble"),
                    ("conversion.held", "Conversion Held"),
                    ("payment.unmatched", "Payment Unmatched"),
                    ("payment.disputed", "Payment Disputed"),
                    ("payment.drift", "Payment Drift"),
                    ("auto_top_up.stopped", "Auto Top Up"),
                    ("card.declined", "Card Declined"),
                    ("card.shared", "Card Shared"),
                ],
                max_length=32,
            ),
        ),
    ]
