"""Answers of the management API that are given again when a request is sent again."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class KeptAnswer(models.Model):
    """
    One ``Idempotency-Key`` of one caller at one endpoint, and what was answered.

    Only digests of the caller's word and of the request are kept; the answer may hold a key's
    text and is sealed.
    """

    caller = models.CharField(max_length=64)
    endpoint = models.CharField(max_length=200)
    digest = models.BinaryField(max_length=32)
    fingerprint = models.BinaryField(max_length=32)
    status = models.SmallIntegerField(default=0)
    sealed = models.BinaryField(default=bytes)
    sealed_key_id = models.CharField(max_length=64, default="")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["expires_at"], name="accounts_keptanswer_expires")
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["caller", "endpoint", "digest"], name="accounts_keptanswer_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.endpoint} #{self.pk}"
