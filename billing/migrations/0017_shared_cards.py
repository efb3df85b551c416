"""Which workspaces one card pays for, and what Stripe Tax said of a saved card's charge."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0016_staff")]

    operations = [
        migrations.AddField(
            model_name="topup",
            name="tax_calculation",
            field=models.CharField(blank=True, default="", max_length=120),
        ),
        migrations.AddIndex(
            model_name="savedcard",
            index=models.Index(fields=["fingerprint"], name="billing_savedcard_of_card"),
        ),
        migrations.AddIndex(
            model_name="topup",
            index=models.Index(
                condition=models.Q(("fingerprint", ""), _negated=True),
                fields=["fingerprint"],
                name="billing_topup_of_card",
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[
                    ("cap.threshold", "Cap Threshold"),
                    ("balance.low", "Balance Low"),
                    ("ledger.violation", "Ledger Violation"),
                    ("settlement.refused", "Settlement Refused"),
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
