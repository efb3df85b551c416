"""Invitations of people into workspaces."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts import scopes
from common import ids

ROLES = [str(role) for role in scopes.Role]


def invitation_public_id() -> str:
    """A new id of the form inv_…"""
    return ids.public("inv")


class Invitation(models.Model):
    """A role that waits for whoever reads the mail of one address; only a digest is kept."""

    public_id = models.CharField(
        max_length=32, unique=True, default=invitation_public_id, editable=False
    )
    workspace = models.ForeignKey(
        "accounts.Workspace", on_delete=models.PROTECT, related_name="invitations"
    )
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=16, choices=[(role, role) for role in ROLES])
    digest = models.BinaryField(max_length=32, unique=True)
    invited_by = models.ForeignKey(
        "accounts.User", on_delete=models.PROTECT, null=True, related_name="+"
    )
    # Set where its key invited: then no person did. Neither is set where an operator did.
    invited_by_service = models.ForeignKey(
        "accounts.ServiceAccount", on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.ForeignKey(
        "accounts.User", on_delete=models.PROTECT, null=True, related_name="+"
    )
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "email"],
                condition=Q(accepted_at=None, revoked_at=None),
                name="accounts_invitation_one_open",
            ),
            models.CheckConstraint(
                condition=Q(role__in=ROLES), name="accounts_invitation_role_exists"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} as {self.role}"
