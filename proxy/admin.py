"""The catalogue in the admin site, and the evidence of calls, which only machines write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Model as AnyModel
from django.db.models import QuerySet
from django.http import HttpRequest

from common import money
from proxy.models import (
    Attempt,
    CatalogueVersion,
    Checkpoint,
    Export,
    ExportPiece,
    GatewayProcess,
    Generation,
    IdempotencyKey,
    Incident,
    Model,
    ModelAlias,
    Provider,
    ProviderReport,
    Route,
    TaskHeartbeat,
)

if TYPE_CHECKING:
    RowAdmin = admin.ModelAdmin[Any]
    RowInline = admin.TabularInline[Any, Any]
    ProviderBaseForm = forms.ModelForm[Provider]
else:
    # Django's own classes cannot be subscripted.
    RowAdmin, RowInline, ProviderBaseForm = admin.ModelAdmin, admin.TabularInline, forms.ModelForm


class KeptAdmin(RowAdmin):
    """Rows that receipts and attempts refer to: switched off, never deleted."""

    def has_delete_permission(self, request: HttpRequest, obj: AnyModel | None = None) -> bool:
        """Nobody deletes them."""
        return False


class ReadOnlyAdmin(KeptAdmin):
    """Rows that only machines write."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AnyModel | None = None) -> bool:
        """Nobody changes them."""
        return False


class ProviderForm(ProviderBaseForm):
    """A provider, whose API key can be set but never read."""

    base_url = forms.URLField(max_length=500, assume_scheme="https")
    new_api_key = forms.CharField(
        label="API key",
        required=False,
        strip=True,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
        help_text="Stored encrypted and never shown. Empty leaves the present one.",
    )
    new_cost_report_key = forms.CharField(
        label="Key of the cost report",
        required=False,
        strip=True,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
        help_text="OpenAI's costs need an admin key. Stored like the API key.",
    )

    class Meta:
        model = Provider
        fields = (
            "slug",
            "kind",
            "base_url",
            "on_disconnect",
            "generation_lookup",
            "cost_report",
            "rpm",
            "concurrency",
            "enabled",
        )


@admin.register(Provider)
class ProviderAdmin(KeptAdmin):
    """Who answers calls."""

    form = ProviderForm
    list_display = ("slug", "kind", "base_url", "has_api_key", "on_disconnect", "enabled")
    list_filter = ("kind", "enabled")
    search_fields = ("slug",)
    readonly_fields = ("has_api_key", "updated_at")

    @admin.display(boolean=True, description="API key set")
    def has_api_key(self, provider: Provider) -> bool:
        """Whether a key is stored."""
        return bool(provider.api_key_encrypted)

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        """Seal new keys, then save."""
        if form.cleaned_data["new_api_key"]:
            obj.set_api_key(form.cleaned_data["new_api_key"])
        if form.cleaned_data["new_cost_report_key"]:
            obj.set_cost_report_key(form.cleaned_data["new_cost_report_key"])
        super().save_model(request, obj, form, change)


class AliasInline(RowInline):
    """Other names of a model."""

    model = ModelAlias
    extra = 0


class RouteInline(RowInline):
    """Ways to serve a model."""

    model = Route
    extra = 0
    can_delete = False


@admin.register(Model)
class ModelAdmin(KeptAdmin):
    """What is sold; its prices are versions, added with load_catalogue."""

    list_display = ("slug", "name", "kind", "context_length", "max_output_tokens", "enabled")
    list_filter = ("kind", "enabled")
    search_fields = ("slug", "name", "aliases__alias")
    inlines = (AliasInline, RouteInline)


@admin.register(ModelAlias)
class ModelAliasAdmin(RowAdmin):
    """Other names."""

    list_display = ("alias", "model")
    list_select_related = ("model",)
    search_fields = ("alias",)


@admin.register(Route)
class RouteAdmin(KeptAdmin):
    """Which provider serves which model."""

    list_display = ("model", "provider", "upstream_model", "priority", "own_price", "enabled")
    list_filter = ("provider", "enabled")
    list_select_related = ("model", "provider")
    search_fields = ("model__slug", "upstream_model")


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    """Calls to providers. A request may have several, so there is no page of one alone."""

    list_display = (
        "request_id",
        "n",
        "day",
        "provider",
        "upstream_model",
        "outcome",
        "cause",
        "status",
        "cost",
        "latency_ms",
    )
    list_display_links = None
    list_filter = ("outcome",)
    search_fields = ("=request_id",)

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Attempt | None:
        """Return a request's first attempt, as its id alone does not name one row."""
        try:
            return Attempt.objects.filter(request_id=object_id).order_by("n").first()
        except ValidationError:
            return None


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    """What live streams have counted."""

    list_display = ("request_id", "process_id", "provider", "output_tokens", "at")


@admin.register(GatewayProcess)
class GatewayProcessAdmin(ReadOnlyAdmin):
    """Running and past gateways."""

    list_display = ("id", "hostname", "pid", "started_at", "heartbeat_at", "stopped_at")


@admin.register(TaskHeartbeat)
class TaskHeartbeatAdmin(ReadOnlyAdmin):
    """When scheduled tasks last ran."""

    list_display = ("name", "at", "report")


@admin.register(CatalogueVersion)
class CatalogueVersionAdmin(ReadOnlyAdmin):
    """The number that gateways watch."""

    list_display = ("id", "version")

    def get_queryset(self, request: HttpRequest) -> QuerySet[CatalogueVersion]:
        """Return the one row."""
        return CatalogueVersion.objects.filter(pk=1)


@admin.register(Generation)
class GenerationAdmin(ReadOnlyAdmin):
    """Generations that can still be fetched; what was said in them is sealed and not shown."""

    list_display = ("id", "status", "model", "tokens_used", "created_at", "expires_at")
    list_filter = ("status",)
    exclude = ("sealed",)


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    """Requests that are made once; their answers are sealed and not shown."""

    list_display = ("id", "endpoint", "request_id", "finished_at", "expires_at")
    list_filter = ("endpoint",)
    exclude = ("digest", "fingerprint", "answer")


@admin.register(ProviderReport)
class ProviderReportAdmin(ReadOnlyAdmin):
    """What providers say their days have cost, beside what we counted."""

    list_display = (
        "day",
        "provider",
        "status",
        "drift_percent",
        "ours_usd",
        "theirs_usd",
        "ours_calls",
        "theirs_calls",
        "missing_ours",
        "missing_theirs",
        "problem",
        "fetched_at",
    )
    list_filter = ("status", "provider", "day")
    list_select_related = ("provider",)
    date_hierarchy = "day"

    @admin.display(description="Ours, USD", ordering="ours_nanos")
    def ours_usd(self, report: ProviderReport) -> str:
        """Our cost in dollars."""
        return money.usd(report.ours_nanos, at_least=6)

    @admin.display(description="Theirs, USD", ordering="theirs_nanos", empty_value="-")
    def theirs_usd(self, report: ProviderReport) -> str | None:
        """The provider's word in dollars; none where it could not be had."""
        return None if report.theirs_nanos is None else money.usd(report.theirs_nanos, at_least=6)


@admin.register(Export)
class ExportAdmin(ReadOnlyAdmin):
    """Files that customers had built; never what is in them."""

    list_display = ("public_id", "workspace", "kind", "status", "rows", "created_at")
    list_select_related = ("workspace",)
    search_fields = ("=public_id", "=workspace__public_id")


@admin.register(ExportPiece)
class ExportPieceAdmin(ReadOnlyAdmin):
    """The pieces of those files, sealed."""

    list_display = ("export", "n", "sealed_key_id")
    exclude = ("sealed",)


@admin.register(Incident)
class IncidentAdmin(RowAdmin):
    """What the status page tells everybody."""

    list_display = ("title", "began_at", "ended_at")
    list_filter = ("ended_at",)
