"""What staff tells everybody on the status page."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Incident(models.Model):
    """Something that customers notice, in the operator's own words."""

    title = models.CharField(max_length=200)
    text = models.TextField(blank=True, default="", help_text="What is known and what is done.")
    began_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-began_at", "-id")
        constraints = (
            models.CheckConstraint(
                name="proxy_incident_ends_after_it_began",
                condition=Q(ended_at=None) | Q(ended_at__gte=F("began_at")),
            ),
        )

    def __str__(self) -> str:
        return self.title
