"""Files of rows that were asked for: built piece by piece, sealed, deleted after a while."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Workspace
from common import ids


def export_public_id() -> str:
    """Return a new id of the form exp_…"""
    return ids.public("exp")


class Export(models.Model):
    """One file. ``position`` is where the next piece begins; null before the first."""

    class Status(models.TextChoices):
        """How far it has come."""

        PENDING = "pending"
        COMPLETED = "completed"
        FAILED = "failed"

    public_id = models.CharField(
        max_length=32, unique=True, default=export_public_id, editable=False
    )
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=32)
    query: models.JSONField[Any, Any] = models.JSONField(default=dict)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    position: models.JSONField[Any, Any] = models.JSONField(null=True)
    pieces = models.PositiveIntegerField(default=0)
    rows = models.BigIntegerField(default=0)
    rows_expected = models.BigIntegerField(null=True)
    bytes = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    written_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=["workspace", "-id"], name="proxy_export_page"),
            models.Index(fields=["expires_at"], name="proxy_export_expires"),
            models.Index(
                fields=["written_at"], name="proxy_export_pending", condition=Q(status="pending")
            ),
        )

    def __str__(self) -> str:
        return self.public_id


class ExportPiece(models.Model):
    """Some thousand lines of a file."""

    export = models.ForeignKey(Export, on_delete=models.CASCADE, related_name="parts")
    n = models.PositiveIntegerField()
    sealed = models.BinaryField()
    sealed_key_id = models.CharField(max_length=64)

    class Meta:
        ordering = ("export", "n")
        constraints = (
            models.UniqueConstraint(name="proxy_exportpiece_once", fields=("export", "n")),
        )

    def __str__(self) -> str:
        return f"#{self.n} of export #{self.export_id}"
