"""
The catalogue (providers, models, routes) and the evidence of calls.

Prices are not here: they are versions in ``billing_price``, found by subject. A model's
retail price has the model's slug as its subject; a route's cost (and its own retail price,
if it has one) has ``Route.subject``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common import crypto
from proxy.models_exports import Export, ExportPiece
from proxy.models_incidents import Incident
from proxy.models_kept import Generation, IdempotencyKey, PromptErasure, PromptLog
from proxy.models_reports import ProviderReport
from proxy.models_trials import Trial
from proxy.models_unknown import UnknownCall

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager

SLUG_PATTERN = r"\A[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}\Z"
PROVIDER_SLUG_PATTERN = r"\A[a-z0-9][a-z0-9_-]{0,62}\Z"

slug_shape = RegexValidator(
    SLUG_PATTERN, "A letter or digit, then at most 127 letters, digits and . _ : / -"
)
provider_slug_shape = RegexValidator(
    PROVIDER_SLUG_PATTERN, "Lower-case letters, digits, - and _, at most 63 characters"
)


class Provider(models.Model):
    """A company, or a process of ours, that answers calls for money."""

    class Kind(models.TextChoices):
        """The wire format it speaks."""

        OPENAI = "openai", "OpenAI"
        ANTHROPIC = "anthropic", "Anthropic"
        GEMINI = "gemini", "Gemini"
        SANDBOX = "sandbox", "Sandbox"

    class OnDisconnect(models.TextChoices):
        """What to do upstream when the caller goes away in the middle of a stream."""

        CANCEL = "cancel", "Cancel: it stops billing when we hang up"
        DRAIN = "drain", "Drain: it bills to the end anyway"

    class GenerationLookup(models.TextChoices):
        """How a past call's usage can be asked for."""

        NONE = "none", "None"
        OPENROUTER = "openrouter", "OpenRouter"
        SANDBOX = "sandbox", "Sandbox"

    class CostReport(models.TextChoices):
        """Where its daily bill can be read."""

        NONE = "none", "None"
        OPENAI = "openai", "OpenAI"
        OPENROUTER = "openrouter", "OpenRouter"
        SANDBOX = "sandbox", "Sandbox"

    slug = models.CharField(max_length=63, unique=True, validators=[provider_slug_shape])
    kind = models.CharField(max_length=16, choices=Kind)
    base_url = models.URLField(max_length=500)
    api_key_encrypted = models.BinaryField(default=bytes, blank=True, editable=False)
    api_key_key_id = models.CharField(max_length=64, default="", blank=True, editable=False)
    on_disconnect = models.CharField(
        max_length=16, choices=OnDisconnect, default=OnDisconnect.DRAIN
    )
    generation_lookup = models.CharField(
        max_length=16, choices=GenerationLookup, default=GenerationLookup.NONE
    )
    cost_report = models.CharField(max_length=16, choices=CostReport, default=CostReport.NONE)
    cost_report_key_encrypted = models.BinaryField(default=bytes, blank=True, editable=False)
    cost_report_key_key_id = models.CharField(max_length=64, default="", blank=True, editable=False)
    rpm = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    concurrency = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    enabled = models.BooleanField(default=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug

    def set_api_key(self, plaintext: str) -> None:
        """Seal a new API key into the row; the caller saves it."""
        if plaintext:
            self.api_key_encrypted, self.api_key_key_id = crypto.seal(plaintext.encode())
        else:
            self.api_key_encrypted, self.api_key_key_id = b"", ""

    def api_key(self) -> str:
        """
        Return the API key in clear; empty if the provider has none.

        :raises common.crypto.UnreadableSecret: its sealing key is not configured
        """
        if not self.api_key_encrypted:
            return ""
        return crypto.unseal(bytes(self.api_key_encrypted), self.api_key_key_id).decode()

    def set_cost_report_key(self, plaintext: str) -> None:
        """Seal a new key of the cost report into the row; the caller saves it."""
        if plaintext:
            sealed, key_id = crypto.seal(plaintext.encode())
        else:
            sealed, key_id = b"", ""
        self.cost_report_key_encrypted, self.cost_report_key_key_id = sealed, key_id

    def cost_report_key(self) -> str:
        """
        Return the key of the cost report in clear; empty if there is none of its own.

        :raises common.crypto.UnreadableSecret: its sealing key is not configured
        """
        sealed = bytes(self.cost_report_key_encrypted)
        return crypto.unseal(sealed, self.cost_report_key_key_id).decode() if sealed else ""


class Model(models.Model):
    """Something sold under a slug."""

    class Kind(models.TextChoices):
        """What it makes."""

        CHAT = "chat", "Chat"
        EMBEDDING = "embedding", "Embedding"
        IMAGE = "image", "Image"

    class OutputLimit(models.TextChoices):
        """The name under which it takes an output limit."""

        MAX_TOKENS = "max_tokens", "max_tokens"
        MAX_COMPLETION_TOKENS = "max_completion_tokens", "max_completion_tokens"

    slug = models.CharField(max_length=128, unique=True, validators=[slug_shape])
    name = models.CharField(max_length=200)
    owned_by = models.CharField(max_length=128)
    kind = models.CharField(max_length=16, choices=Kind)
    context_length = models.PositiveIntegerField(null=True, blank=True)
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True)
    max_image_tokens = models.PositiveIntegerField(default=1500)
    prompt_overhead_tokens = models.PositiveIntegerField(default=100)
    capabilities = ArrayField(models.CharField(max_length=32), default=list, blank=True)
    unsupported = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    output_limit = models.CharField(
        max_length=32, choices=OutputLimit, default=OutputLimit.MAX_TOKENS
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    if TYPE_CHECKING:
        aliases: RelatedManager[ModelAlias]
        routes: RelatedManager[Route]

    class Meta:
        ordering = ("slug",)
        constraints = (
            models.CheckConstraint(
                name="proxy_model_slug_shape", condition=Q(slug__regex=SLUG_PATTERN)
            ),
            # Without them no worst case can be computed, so no hold could be taken.
            models.CheckConstraint(
                name="proxy_model_chat_has_bounds",
                # Null is not false: without the isnull a missing bound would pass.
                condition=~Q(kind="chat")
                | Q(
                    context_length__isnull=False,
                    context_length__gt=0,
                    max_output_tokens__isnull=False,
                    max_output_tokens__gt=0,
                ),
            ),
        )

    def __str__(self) -> str:
        return self.slug

    def clean(self) -> None:
        """Refuse a slug that is another model's alias."""
        if ModelAlias.objects.filter(alias=self.slug).exclude(model_id=self.pk).exists():
            raise ValidationError({"slug": "Another model has this name as an alias."})


class ModelAlias(models.Model):
    """Another name for a model, accepted everywhere, listed nowhere."""

    alias = models.CharField(max_length=128, primary_key=True, validators=[slug_shape])
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="aliases")

    class Meta:
        ordering = ("alias",)
        verbose_name_plural = "model aliases"
        constraints = (
            models.CheckConstraint(
                name="proxy_modelalias_shape", condition=Q(alias__regex=SLUG_PATTERN)
            ),
        )

    def __str__(self) -> str:
        return self.alias

    def clean(self) -> None:
        """Refuse an alias that is a model's slug."""
        if Model.objects.filter(slug=self.alias).exists():
            raise ValidationError({"alias": "A model has this name as its slug."})


class Route(models.Model):
    """One provider's way to serve a model."""

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="routes")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="routes")
    upstream_model = models.CharField(max_length=200)
    priority = models.IntegerField(default=0)
    max_stop = models.PositiveSmallIntegerField(null=True, blank=True)
    max_searches = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)]
    )
    enabled = models.BooleanField(default=True)
    own_price = models.BooleanField(default=False)

    class Meta:
        ordering = ("model", "priority", "id")
        constraints = (
            models.UniqueConstraint(
                name="proxy_route_once", fields=("model", "provider", "upstream_model")
            ),
        )

    def __str__(self) -> str:
        return self.subject

    @property
    def subject(self) -> str:
        """The subject of this route's price versions."""
        return route_subject(
            model=self.model.slug, provider=self.provider.slug, upstream_model=self.upstream_model
        )


def route_subject(*, model: str, provider: str, upstream_model: str) -> str:
    """Return the subject under which a route's price versions are kept."""
    return f"{model}@{provider}:{upstream_model}"


class CatalogueVersion(models.Model):
    """One row; triggers raise it whenever something a gateway has cached may be stale."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=1)

    class Meta:
        constraints = (
            models.CheckConstraint(name="proxy_catalogueversion_single", condition=Q(id=1)),
        )

    def __str__(self) -> str:
        return str(self.version)


class GatewayProcess(models.Model):
    """A running gateway; silent for too long, its open holds are due for the sweep."""

    id = models.BigAutoField(primary_key=True)
    hostname = models.CharField(max_length=255)
    pid = models.IntegerField()
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "gateway processes"

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"


class Attempt(models.Model):
    """
    One call to one provider on behalf of a request; only one of a request's wins.

    The table is partitioned by month (``sql/attempt.sql``) and its key is
    (request_id, day, n). Django's admin refuses composite keys, so Django is told that
    request_id is the key; rows are written by SQL and never saved through the ORM.
    """

    class Outcome(models.TextChoices):
        """How it ended."""

        WON = "won", "Won: the customer paid for this one"
        LOST = "lost", "Lost: its cost is ours"
        UNKNOWN = "unknown", "Unknown: there is no evidence"

    request_id = models.UUIDField(primary_key=True)
    day = models.DateField()
    n = models.SmallIntegerField()
    provider = models.TextField()
    route_id = models.BigIntegerField(null=True)
    upstream_model = models.TextField()
    price_id = models.BigIntegerField(null=True)
    upstream_id = models.TextField()
    outcome = models.TextField()
    cause = models.TextField()
    status = models.SmallIntegerField(null=True)
    cost = models.BigIntegerField()
    latency_ms = models.IntegerField(null=True)
    finish_reason = models.TextField(default="")
    # Of an unknown call: the web searches that were held for it here.
    searches = models.BigIntegerField(default=0)

    class Meta:
        managed = False
        db_table = "proxy_attempt"
        ordering = ("-request_id", "n")

    def __str__(self) -> str:
        return f"{self.request_id} #{self.n}"


class Checkpoint(models.Model):
    """What a gateway had counted of a long stream, or was told, when it last looked."""

    request_id = models.UUIDField(primary_key=True)
    process_id = models.BigIntegerField()
    provider = models.TextField()
    route_id = models.BigIntegerField(null=True)
    price_id = models.BigIntegerField(null=True)
    upstream_id = models.TextField(db_default="")
    input_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField(db_default=0)
    cache_write_tokens = models.BigIntegerField(db_default=0)
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField(db_default=0)
    searches = models.BigIntegerField(db_default=0)
    bytes = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("-request_id",)

    def __str__(self) -> str:
        return str(self.request_id)


class TaskHeartbeat(models.Model):
    """When a scheduled task last ran: the proof that beat schedules and a worker works."""

    name = models.CharField(max_length=64, primary_key=True)
    at = models.DateTimeField()
    report: models.JSONField[Any, Any] = models.JSONField(default=dict)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


__all__ = [
    "Attempt",
    "CatalogueVersion",
    "Checkpoint",
    "Export",
    "ExportPiece",
    "GatewayProcess",
    "Generation",
    "IdempotencyKey",
    "Incident",
    "Model",
    "ModelAlias",
    "PromptErasure",
    "PromptLog",
    "Provider",
    "ProviderReport",
    "Route",
    "TaskHeartbeat",
    "Trial",
    "UnknownCall",
    "route_subject",
]
