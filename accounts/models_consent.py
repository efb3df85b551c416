"""Who agreed to which version of a legal text."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Consent(models.Model):
    """One person's word for one text, whose version its digest tells."""

    user = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="consents")
    document = models.CharField(max_length=16)
    digest = models.CharField(max_length=64)
    address = models.CharField(max_length=64, blank=True, default="")
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return f"{self.document} {self.digest[:12]}"
