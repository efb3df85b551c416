"""What one member of staff asks and another decides, and what somebody did alone."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from common import ids


def approval_public_id() -> str:
    """A new id of the form apr_…"""
    return ids.public("apr")


def approval_end() -> Any:
    """When a request made now expires."""
    return timezone.now() + timedelta(hours=settings.APPROVAL_TTL_H)


class Approval(models.Model):
    """
    A change that takes two people: pending, then approved, refused or expired, for ever.

    What was asked never changes; the database (sql/approvals.sql) refuses it.
    """

    class State(models.TextChoices):
        """How far it has come."""

        PENDING = "pending"
        APPROVED = "approved"
        REFUSED = "refused"
        EXPIRED = "expired"

    public_id = models.CharField(
        max_length=32, unique=True, default=approval_public_id, editable=False
    )
    kind = models.CharField(max_length=64)
    payload: models.JSONField[Any, Any] = models.JSONField()
    summary = models.CharField(max_length=254)
    reason = models.TextField()
    workspace = models.ForeignKey(
        "accounts.Workspace", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    amount_nanos = models.BigIntegerField(null=True, blank=True)
    source = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    requester = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    approver = models.ForeignKey(
        "accounts.User", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    note = models.TextField(blank=True, default="")
    outcome: models.JSONField[Any, Any] = models.JSONField(null=True, blank=True)
    requested_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(default=approval_end)
    decided_at = models.DateTimeField(null=True, blank=True)
    # When the others were told of it, and when the requester was told of the answer.
    told_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        permissions: ClassVar = [
            ("decide_approval", "Can decide what others ask"),
            ("move_money", "Can give, correct and refund money"),
            ("freeze_workspace", "Can freeze and unfreeze workspaces"),
            ("set_limits", "Can set limits of customers"),
            ("resolve_calls", "Can resolve unknown calls, suspense and incidents"),
            ("impersonate", "Can look at the dashboard as a customer"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["expires_at"], condition=Q(state="pending"), name="accounts_approval_open"
            ),
        ]
        constraints: ClassVar = [
            # Two people: nobody decides what they asked for.
            models.CheckConstraint(
                condition=Q(approver=None) | ~Q(approver=F("requester")),
                name="accounts_approval_takes_two",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "expired"], approver=None)
                | Q(state__in=["approved", "refused"], approver__isnull=False),
                name="accounts_approval_decided_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(state="pending", decided_at=None)
                | (~Q(state="pending") & Q(decided_at__isnull=False)),
                name="accounts_approval_decided_at_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(reason="") & ~Q(summary="") & ~Q(kind=""),
                name="accounts_approval_says_what_and_why",
            ),
            models.CheckConstraint(
                condition=Q(amount_nanos=None) | Q(amount_nanos__gte=0),
                name="accounts_approval_amount_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.public_id}: {self.summary}"


class SoleDecision(models.Model):
    """Money that one member of staff moved alone: the small sums of a day are added up."""

    source = models.UUIDField(unique=True)
    kind = models.CharField(max_length=64)
    person = models.ForeignKey("accounts.User", on_delete=models.PROTECT, related_name="+")
    workspace = models.ForeignKey("accounts.Workspace", on_delete=models.PROTECT, related_name="+")
    amount_nanos = models.BigIntegerField()
    outcome: models.JSONField[Any, Any] = models.JSONField(null=True)
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["person", "workspace", "at"], name="accounts_soledecision_day"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount_nanos__gte=0), name="accounts_soledecision_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.source}"
