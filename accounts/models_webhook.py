"""Outgoing webhooks: where to, what happened, and what became of telling it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common import ids

KINDS = [
    "balance.low",
    "cap.threshold",
    "generation.finished",
    "key.created",
    "key.disabled",
    "key.rotated",
    "topup.succeeded",
]
# What is sent when somebody asks for a test; nobody subscribes to it.
TEST = "webhook.test"


def endpoint_public_id() -> str:
    """A new id of the form wh_…"""
    return ids.public("wh")


class WebhookEndpoint(models.Model):
    """An address of a customer's that is told what happens in a workspace."""

    class Stopped(models.TextChoices):
        """Why nothing is sent."""

        PERSON = "person"
        FAILING = "failing"
        GONE = "gone"

    public_id = models.CharField(
        max_length=32, unique=True, default=endpoint_public_id, editable=False
    )
    workspace = models.ForeignKey(
        "accounts.Workspace", on_delete=models.PROTECT, related_name="webhooks"
    )
    url = models.CharField(max_length=2000)
    events = ArrayField(models.CharField(max_length=32))
    sealed = models.BinaryField()
    sealed_key_id = models.CharField(max_length=64)
    # While a rotation lasts both secrets sign.
    old_sealed = models.BinaryField(null=True)
    old_sealed_key_id = models.CharField(max_length=64, default="")
    old_until = models.DateTimeField(null=True)
    disabled_at = models.DateTimeField(null=True)
    stopped = models.CharField(max_length=16, choices=Stopped, default="")
    failing_since = models.DateTimeField(null=True)
    told_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.ForeignKey(
        "accounts.User", on_delete=models.PROTECT, null=True, related_name="+"
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(
                fields=["id"],
                condition=Q(stopped__in=["failing", "gone"], told_at=None),
                name="accounts_webhook_untold",
            )
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(events__contained_by=KINDS, events__len__gt=0),
                name="accounts_webhook_events_exist",
            ),
            models.CheckConstraint(
                condition=Q(disabled_at=None, stopped="")
                | Q(disabled_at__isnull=False, stopped__in=["person", "failing", "gone"]),
                name="accounts_webhook_stopped_for_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return self.url


class WebhookEvent(models.Model):
    """Something that happened, written in its own transaction; its text never changes."""

    public_id = models.CharField(max_length=40, unique=True, editable=False)
    workspace = models.ForeignKey(
        "accounts.Workspace", on_delete=models.PROTECT, related_name="webhook_events"
    )
    kind = models.CharField(max_length=32)
    body = models.TextField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["created_at"], name="accounts_webhookevent_age")]

    def __str__(self) -> str:
        return f"{self.kind} {self.public_id}"


class WebhookDelivery(models.Model):
    """
    One event on its way to one endpoint.

        pending ──► delivered            the endpoint answered 2xx
           ├──────► failed               every attempt failed; a resend makes it pending again
           └──────► dropped              the endpoint was disabled in the meantime

    Whoever attempts it has claimed it first: ``attempts`` counts the claims, and only the last
    claimer writes down what came of it.
    """

    class Status(models.TextChoices):
        """What became of it."""

        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"
        DROPPED = "dropped"

    public_id = models.CharField(max_length=40, unique=True, editable=False)
    event = models.ForeignKey(WebhookEvent, on_delete=models.CASCADE, related_name="deliveries")
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries"
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    # All claims there ever were, and those since it was last asked for: these back off.
    attempts = models.IntegerField(db_default=0)
    tries = models.SmallIntegerField(db_default=0)
    next_at = models.DateTimeField(db_default=Now())
    claimed_until = models.DateTimeField(null=True)
    code = models.SmallIntegerField(null=True)
    error = models.CharField(max_length=200, db_default="")
    latency_ms = models.IntegerField(null=True)
    log: models.JSONField[Any, Any] = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(
                fields=["next_at"], condition=Q(status="pending"), name="accounts_delivery_due"
            ),
            models.Index(
                fields=["endpoint"],
                condition=Q(status="pending", claimed_until__isnull=False),
                name="accounts_delivery_claimed",
            ),
            models.Index(fields=["endpoint", "-id"], name="accounts_delivery_log"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["event", "endpoint"], name="accounts_delivery_once_each"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["pending", "delivered", "failed", "dropped"]),
                name="accounts_delivery_status_exists",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.public_id} {self.status}"
