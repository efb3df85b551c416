"""The audit log's table. Rows are written by accounts.audit; the database refuses changes."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common import ids


def event_public_id() -> str:
    """A new id of the form evt_…"""
    return ids.public("evt")


class AuditEvent(models.Model):
    """One change: who made it, to what, what it was before and is after; never changed."""

    class Actor(models.TextChoices):
        """In which capacity someone acted."""

        USER = "user"
        KEY = "key"
        SERVICE_ACCOUNT = "service_account"
        STAFF = "staff"
        OPERATOR = "operator"
        STRANGER = "stranger"

    public_id = models.CharField(
        max_length=32, unique=True, default=event_public_id, editable=False
    )
    at = models.DateTimeField(db_default=Now(), editable=False)
    workspace = models.ForeignKey(
        "accounts.Workspace", on_delete=models.PROTECT, null=True, related_name="+"
    )
    action = models.CharField(max_length=64)
    actor = models.CharField(max_length=16, choices=Actor)
    user = models.ForeignKey(
        "accounts.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    key = models.ForeignKey(
        "accounts.ApiKey", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    service_account = models.ForeignKey(
        "accounts.ServiceAccount",
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
    )
    # Staff who acted as the person: both are named.
    impersonator = models.ForeignKey(
        "accounts.User", on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    target = models.CharField(max_length=64)
    target_name = models.CharField(max_length=254)
    before: models.JSONField[Any, Any] = models.JSONField(null=True)
    after: models.JSONField[Any, Any] = models.JSONField(null=True)
    request_id = models.CharField(max_length=64, blank=True, default="")
    address = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["workspace", "-at", "-id"], name="accounts_auditevent_page"),
            models.Index(fields=["target", "-at", "-id"], name="accounts_auditevent_target"),
            models.Index(
                fields=["workspace", "action", "-at", "-id"], name="accounts_auditevent_action"
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=~Q(action="") & ~Q(target=""), name="accounts_auditevent_says_what"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"
