"""What a provider says a day has cost, beside what we counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models import Q

if TYPE_CHECKING:
    from proxy.models import Provider


class ProviderReport(models.Model):
    """
    One provider's day: our cost and calls, theirs, and how far they are apart.

    ``drift_percent`` is ours less theirs, in hundredths of theirs: below zero the provider
    bills more than we counted. What the provider does not tell is null.
    """

    class Status(models.TextChoices):
        """What the comparison came to."""

        OK = "ok", "OK"
        DRIFT = "drift", "Drift"
        UNAVAILABLE = "unavailable", "Unavailable"

    # "+": nobody asks a provider for its reports.
    provider: models.ForeignKey[Provider, Provider] = models.ForeignKey(
        "Provider", on_delete=models.PROTECT, related_name="+"
    )
    day = models.DateField()
    status = models.CharField(max_length=16, choices=Status)
    ours_nanos = models.BigIntegerField()
    theirs_nanos = models.BigIntegerField(null=True)
    drift_percent = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    ours_calls = models.BigIntegerField()
    theirs_calls = models.BigIntegerField(null=True)
    missing_ours = models.BigIntegerField(null=True)
    missing_theirs = models.BigIntegerField(null=True)
    problem = models.TextField(default="", blank=True)
    fetched_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-day", "provider"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["provider", "day"], name="proxy_providerreport_once"),
            # Unknown is never silently fine.
            models.CheckConstraint(
                condition=Q(status="unavailable")
                | Q(theirs_nanos__isnull=False, drift_percent__isnull=False),
                name="proxy_providerreport_measured",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.day}"
