"""Packages of platform tokens, and exchanges of one asset for another."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.fields import UnitsField


class TokenPackage(models.Model):
    """
    Platform tokens at a price in US dollars.

    A purchase keeps its own terms: what is changed here holds for later purchases only.
    """

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=80)
    tokens = models.BigIntegerField(validators=[MinValueValidator(1)])
    price_nanos = models.BigIntegerField(
        validators=[MinValueValidator(1)],
        help_text="In billionths of a US dollar: 1 USD is 1000000000.",
    )
    bonus_tokens = models.BigIntegerField(default=0, validators=[MinValueValidator(0)])
    bonus_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="Days until the bonus expires; empty: never."
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar = ["price_nanos", "slug"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(tokens__gt=0, price_nanos__gt=0, bonus_tokens__gte=0),
                name="billing_tokenpackage_positive",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Conversion(models.Model):
    """
    One exchange, never changed: the rate, where and when it was taken, and the amounts.

    Made by ``sql/conversion.sql``; ``debit`` gave ``amount`` of its asset, ``credit`` got
    ``gross - spread`` of its own. The transfers have the same source.
    """

    source = models.UUIDField(primary_key=True)
    debit = models.ForeignKey(
        "billing.Account", on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    credit = models.ForeignKey(
        "billing.Account", on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    amount = UnitsField()
    numerator = UnitsField()
    denominator = UnitsField()
    spread_ppm = models.IntegerField()
    gross = UnitsField()
    spread = UnitsField()
    rate_source = models.TextField()
    rate_at = models.DateTimeField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        null=True,
        related_name="+",
        db_constraint=False,
    )
    at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "billing_conversion"
        ordering: ClassVar = ["-at"]

    def __str__(self) -> str:
        return str(self.source)

    @property
    def received(self) -> int:
        """What the credit account got."""
        return self.gross - self.spread
