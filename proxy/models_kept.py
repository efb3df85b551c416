"""
What is kept for a while so that it can be fetched or answered again.

Whatever holds words of a prompt or of an answer is sealed (``common.crypto``) and has a time
at which it goes; the other columns are facts that could stand in a log.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Generation(models.Model):
    """
    One call of ``/api/v2/generate``; its id is the request's.

    ``sealed`` is the call while a worker is to make it (``background``), then its answer.
    ``drafted``: there is an answer, but it has not been paid for yet.
    """

    class Status(models.TextChoices):
        """How far it has come."""

        PENDING = "pending", "Pending"
        COMPLETED = "completed", "Completed"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True)
    workspace_id = models.BigIntegerField()
    key_id = models.BigIntegerField()
    status = models.TextField(choices=Status, default=Status.PENDING)
    model = models.TextField()
    background = models.BooleanField(default=False)
    claimed_at = models.DateTimeField(null=True)
    sealed = models.BinaryField(null=True)
    sealed_key_id = models.TextField(default="")
    drafted = models.BooleanField(default=False)
    tokens_used = models.BigIntegerField(default=0)
    balance_remaining = models.BigIntegerField(null=True)
    error: models.JSONField[Any, Any] = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=["expires_at"], name="proxy_generation_expires"),
            models.Index(
                fields=["created_at"],
                name="proxy_generation_pending",
                condition=Q(status="pending"),
            ),
        )
        constraints = (
            models.CheckConstraint(
                name="proxy_generation_status",
                condition=Q(status__in=("pending", "completed", "failed")),
            ),
        )

    def __str__(self) -> str:
        return str(self.id)


class IdempotencyKey(models.Model):
    """
    One ``Idempotency-Key`` of one API key at one endpoint, and the request that has it.

    Only digests of the caller's word and of the body are kept. Whether the request still
    runs, and whether it was billed, is told by its hold and its usage row, never by this one.
    """

    id = models.BigAutoField(primary_key=True)
    key_id = models.BigIntegerField()
    endpoint = models.TextField()
    digest = models.BinaryField()
    fingerprint = models.BinaryField()
    request_id = models.UUIDField()
    finished_at = models.DateTimeField(null=True)
    answer = models.BinaryField(null=True)
    answer_key_id = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=["expires_at"], name="proxy_idempotencykey_expires"),)
        constraints = (
            models.UniqueConstraint(
                name="proxy_idempotencykey_once", fields=("key_id", "endpoint", "digest")
            ),
        )

    def __str__(self) -> str:
        return str(self.request_id)


class PromptLog(models.Model):
    """
    The words of one completed call of a workspace that chose to keep them, under its request's id.

    How long it is kept is its workspace's choice at the time of asking, not of writing.
    """

    id = models.UUIDField(primary_key=True)
    workspace_id = models.BigIntegerField()
    key_id = models.BigIntegerField()
    sealed = models.BinaryField()
    sealed_key_id = models.TextField()
    bytes = models.IntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=["workspace_id", "created_at"], name="proxy_promptlog_workspace"),
            models.Index(fields=["key_id", "created_at"], name="proxy_promptlog_key"),
        )

    def __str__(self) -> str:
        return str(self.id)


class PromptErasure(models.Model):
    """
    Words that are to go, and that nobody reads any more: a workspace's or a key's, up to a time.

    Written where there are more than one transaction should delete; gone with the last of them.
    """

    id = models.BigAutoField(primary_key=True)
    workspace_id = models.BigIntegerField(null=True)
    key_id = models.BigIntegerField(null=True)
    before = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                name="proxy_prompterasure_whose",
                condition=Q(workspace_id=None, key_id__isnull=False)
                | Q(workspace_id__isnull=False, key_id=None),
            ),
        )

    def __str__(self) -> str:
        return f"{self.workspace_id or self.key_id} before {self.before}"
