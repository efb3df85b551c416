"""What calls cost: versions that are never changed."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Price(models.Model):
    """
    One version of a price, in pico-dollars; never changed, superseded by a newer version.

    `cached_prompt` and `cache_write` that are null cost what `prompt` costs.
    """

    class Role(models.TextChoices):
        """Whether customers pay it or we do."""

        RETAIL = "retail"
        COST = "cost"

    subject = models.TextField()
    role = models.CharField(max_length=8, choices=Role)
    effective_from = models.DateTimeField()
    prompt = models.BigIntegerField(db_default=0)
    completion = models.BigIntegerField(db_default=0)
    cached_prompt = models.BigIntegerField(null=True)
    cache_write = models.BigIntegerField(null=True)
    per_call = models.BigIntegerField(null=True)
    web_search = models.BigIntegerField(null=True)
    image: models.JSONField[Any, Any] = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["subject", "role", "-effective_from"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subject", "role", "effective_from"], name="billing_price_once"
            ),
            models.CheckConstraint(
                condition=Q(role__in=["retail", "cost"]), name="billing_price_role_exists"
            ),
            models.CheckConstraint(
                condition=Q(prompt__gte=0, completion__gte=0)
                & (Q(cached_prompt=None) | Q(cached_prompt__gte=0))
                & (Q(cache_write=None) | Q(cache_write__gte=0))
                & (Q(per_call=None) | Q(per_call__gte=0))
                & (Q(web_search=None) | Q(web_search__gte=0)),
                name="billing_price_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject} {self.role} #{self.pk}"
