"""Calls whose price was corrected: an estimate gave way to evidence that came later."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.models import Workspace


class Revision(models.Model):
    """
    One correction, never changed: what a call had been booked at, and what took its place.

    Made by ``sql/revise.sql``; the id is the call's, and the source of its transfers. Amounts
    are in units of the asset, costs in nano-dollars.
    """

    id = models.UUIDField(primary_key=True)
    day = models.DateField()
    workspace = models.ForeignKey(
        Workspace, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    asset = models.TextField()
    unit_nanos = models.BigIntegerField()
    old_state = models.TextField()
    old_source = models.TextField()
    old_cost = models.BigIntegerField()
    old_granted = models.BigIntegerField()
    old_charged = models.BigIntegerField()
    old_uncollected = models.BigIntegerField()
    source = models.TextField()
    cost = models.BigIntegerField()
    granted = models.BigIntegerField()
    charged = models.BigIntegerField()
    uncollected = models.BigIntegerField()
    at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "billing_revision"
        ordering: ClassVar = ["-at"]
        verbose_name = "corrected call"

    def __str__(self) -> str:
        return str(self.id)
