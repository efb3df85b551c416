"""Staff who look at the dashboard as a customer: who, as whom, why, from when until when."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from common import ids


def impersonation_public_id() -> str:
    """A new id of the form imp_…"""
    return ids.public("imp")


class Impersonation(models.Model):
    """One look; it ends once and is kept."""

    public_id = models.CharField(
        max_length=32, unique=True, default=impersonation_public_id, editable=False
    )
    staff = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    customer = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    reason = models.TextField()
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(
                fields=["expires_at"],
                condition=Q(ended_at=None),
                name="accounts_impersonation_open",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["staff"],
                condition=Q(ended_at=None),
                name="accounts_impersonation_one_at_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(staff=F("customer")), name="accounts_impersonation_of_somebody_else"
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="accounts_impersonation_says_why"),
        ]

    def __str__(self) -> str:
        return f"{self.public_id}: {self.reason}"
