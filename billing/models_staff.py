"""What staff work with: workspaces as customers, and the forms that they have sent."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from accounts.models import Workspace


class Customer(Workspace):
    """A workspace as those see it who look after its money; the same row."""

    class Meta:
        proxy = True
        ordering: ClassVar = ["-id"]
        default_permissions: ClassVar = ["view"]


class StaffStep(models.Model):
    """A form that was sent, by its token: written with what it did, so that it is done once."""

    token = models.UUIDField(primary_key=True)
    step = models.CharField(max_length=64)
    target = models.CharField(max_length=64)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["-at"]

    def __str__(self) -> str:
        return f"{self.step} {self.target}"
