"""Where a replay of the ledger may start."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from billing.fields import UnitsField


class LedgerCheckpoint(models.Model):
    """The sums of one account's transfers up to one transfer: where a replay may start."""

    account = models.ForeignKey("billing.Account", on_delete=models.PROTECT, related_name="+")
    through = models.BigIntegerField()
    debits = UnitsField()
    credits = UnitsField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["-through", "account"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["through", "account"], name="billing_ledgercheckpoint_once"
            ),
        ]

    def __str__(self) -> str:
        return f"account #{self.account_id} through transfer {self.through}"
