"""Calls that staff made to try a provider out: platform cost, on no customer's bill."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

if TYPE_CHECKING:
    from proxy.models import Provider


class Trial(models.Model):
    """
    One tiny real call, written down before it is made; never what was said.

    ``cost_nanos`` is by our price version; ``estimate`` where the provider told no usage, so
    that the worst case of the call stands for it.
    """

    class Outcome(models.TextChoices):
        """What came of it."""

        RUNNING = "running"
        ANSWERED = "answered"
        FAILED = "failed"

    # The id that the call has at the provider.
    id = models.UUIDField(primary_key=True)
    token = models.UUIDField(unique=True, default=uuid.uuid4)
    provider: models.ForeignKey[Provider, Provider] = models.ForeignKey(
        "Provider", on_delete=models.PROTECT, related_name="trials"
    )
    route_id = models.BigIntegerField()
    upstream_model = models.TextField()
    upstream_id = models.TextField(default="")
    outcome = models.CharField(max_length=16, choices=Outcome, default=Outcome.RUNNING)
    status = models.SmallIntegerField(null=True)
    problem = models.CharField(max_length=200, default="")
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cost_nanos = models.BigIntegerField(default=0)
    estimate = models.BooleanField(default=False)
    latency_ms = models.IntegerField(null=True)
    reason = models.TextField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["-at"]
        indexes: ClassVar = [models.Index(fields=["provider", "-at"], name="proxy_trial_page")]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(cost_nanos__gte=0), name="proxy_trial_cost"),
        ]

    def __str__(self) -> str:
        return f"{self.provider_id} {self.at:%Y-%m-%d %H:%M}"
