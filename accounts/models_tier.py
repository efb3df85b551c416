"""Standings of workspaces."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q


class Tier(models.Model):
    """A standing with its rate limits and spending caps. A cap that is null is unlimited."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    default_rpm = models.PositiveIntegerField()
    max_rpm = models.PositiveIntegerField()
    default_daily_nanos = models.BigIntegerField(null=True, blank=True)
    max_daily_nanos = models.BigIntegerField(null=True, blank=True)
    default_monthly_nanos = models.BigIntegerField(null=True, blank=True)
    max_monthly_nanos = models.BigIntegerField(null=True, blank=True)
    min_paid_nanos = models.BigIntegerField(default=0)
    is_default = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["min_paid_nanos", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["is_default"],
                condition=Q(is_default=True),
                name="accounts_tier_one_default",
            ),
            models.CheckConstraint(
                condition=Q(default_rpm__lte=F("max_rpm")), name="accounts_tier_rpm_within_max"
            ),
            models.CheckConstraint(
                condition=Q(max_daily_nanos=None)
                | Q(
                    # Said aloud, because a comparison with null would pass.
                    default_daily_nanos__isnull=False,
                    default_daily_nanos__lte=F("max_daily_nanos"),
                ),
                name="accounts_tier_daily_within_max",
            ),
            models.CheckConstraint(
                condition=Q(max_monthly_nanos=None)
                | Q(
                    # Said aloud, because a comparison with null would pass.
                    default_monthly_nanos__isnull=False,
                    default_monthly_nanos__lte=F("max_monthly_nanos"),
                ),
                name="accounts_tier_monthly_within_max",
            ),
            models.CheckConstraint(
                condition=(Q(default_daily_nanos=None) | Q(default_daily_nanos__gte=0))
                & (Q(default_monthly_nanos=None) | Q(default_monthly_nanos__gte=0))
                & Q(min_paid_nanos__gte=0),
                name="accounts_tier_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return self.name
