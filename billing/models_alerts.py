"""What people and operators were told, once, and what a workspace wants to be told."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Workspace


class Alert(models.Model):
    """
    Something that its readers are told once: customers of a workspace, or the operators.

    A cap is told once per window and level. What lasts (a low balance, a broken invariant)
    is told once until it is over: then it is closed, and may begin anew.
    """

    class Kind(models.TextChoices):
        """What it is about."""

        CAP_THRESHOLD = "cap.threshold"
        BALANCE_LOW = "balance.low"
        LEDGER_VIOLATION = "ledger.violation"
        SETTLEMENT_REFUSED = "settlement.refused"
        USAGE_UNCOLLECTED = "usage.uncollected"
        SPOOL_TROUBLE = "spool.trouble"
        PROVIDER_DRIFT = "provider.drift"
        PROVIDER_UNAVAILABLE = "provider.unavailable"
        CHAIN_TROUBLE = "chain.trouble"
        CONVERSION_HELD = "conversion.held"
        PAYMENT_UNMATCHED = "payment.unmatched"
        PAYMENT_DISPUTED = "payment.disputed"
        PAYMENT_DRIFT = "payment.drift"
        AUTO_TOP_UP = "auto_top_up.stopped"
        CARD_DECLINED = "card.declined"
        CARD_SHARED = "card.shared"

    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, null=True, related_name="alerts"
    )
    kind = models.CharField(max_length=32, choices=Kind)
    subject = models.CharField(max_length=128)
    window = models.CharField(max_length=16, db_default="")
    level = models.SmallIntegerField(db_default=0)
    facts: models.JSONField[Any, Any] = models.JSONField(default=dict)
    told = ArrayField(models.EmailField(max_length=254), default=list)
    created_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "kind", "subject", "window", "level"],
                condition=Q(closed_at=None),
                nulls_distinct=False,
                name="billing_alert_once",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["id"], condition=Q(sent_at=None), name="billing_alert_unsent"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} {self.window}".rstrip()


class AlertPreference(models.Model):
    """Below which balance a workspace wants to be told; without a row the default holds."""

    workspace = models.OneToOneField(
        Workspace, on_delete=models.CASCADE, primary_key=True, related_name="alert_preference"
    )
    low_balance_nanos = models.BigIntegerField(validators=[MinValueValidator(0)])

    class Meta:
        ordering: ClassVar = ["workspace_id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(low_balance_nanos__gte=0), name="billing_alertpreference_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"workspace #{self.workspace_id}"
