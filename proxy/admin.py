"""The evidence of calls in the admin site, which only machines write, and incidents."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model as AnyModel
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from accounts import audit
from billing.adminforms import ReasonedAdmin, facts
from billing.adminrows import ReadOnlyAdmin, call
from billing.adminsteps import Step, SteppedAdmin, Stepping, Taken
from common import money
from proxy import admin_calls, admin_catalogue, admin_providers, books, reconciliation
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
    PromptErasure,
    PromptLog,
    ProviderReport,
    TaskHeartbeat,
)

# Django looks for modules of this name only: it brings the others along.
__all__ = ["admin_calls", "admin_catalogue", "admin_providers"]


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    """Calls to providers. A request may have several, so there is no page of one alone."""

    list_display = (
        call("request_id"),
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
    units = {"cost": "nanos"}
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

    def get_urls(self) -> list[URLPattern]:
        """Add the page that says whether the books are right."""
        view = self.admin_site.admin_view(self.books_view)
        return [path("books/", view, name="proxy_taskheartbeat_books"), *super().get_urls()]

    def books_view(self, request: HttpRequest) -> HttpResponse:
        """Show the invariants with their history, and what others' books say."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Books",
            "books": books.read(today=datetime.now(UTC).date()),
        }
        return TemplateResponse(request, "admin/proxy/books.html", context)


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


@admin.register(PromptLog)
class PromptLogAdmin(ReadOnlyAdmin):
    """Calls whose words a workspace keeps; they are sealed, and not for staff."""

    list_display = ("id", "workspace_id", "key_id", "bytes", "created_at")
    exclude = ("sealed",)


@admin.register(PromptErasure)
class PromptErasureAdmin(ReadOnlyAdmin):
    """Whose words are being deleted."""

    list_display = ("id", "workspace_id", "key_id", "before")


def _ask_again(taken: Taken) -> str:
    report: ProviderReport = taken.row
    audit.record(
        action="provider.report_asked",
        by=taken.by,
        target=audit.Target(report.provider.slug, str(report.day)),
        workspaces=[None],
        after={"status": report.status, "reason": taken.reason},
    )
    return "The provider is asked."


def _asked(taken: Taken) -> str:
    report: ProviderReport = taken.row
    found = reconciliation.compare(provider=report.provider, day=report.day)
    return f"Its report of {report.day}: {found.status}. {found.problem}".strip()


ASK_AGAIN = Step(
    name="ask",
    title="Compare again",
    text="Ask the provider for this day's bill again and compare it with what we count now.",
    permission="accounts.resolve_calls",
    run=_ask_again,
    follow=_asked,
)


@admin.register(ProviderReport)
class ProviderReportAdmin(SteppedAdmin):
    """What providers say their days have cost, beside what we counted."""

    steps = (ASK_AGAIN,)
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


def _close(taken: Taken) -> str:
    incident: Incident = taken.row
    before = facts(incident)
    incident.ended_at = timezone.now()
    incident.save(update_fields=["ended_at"])
    audit.record(
        action="incident.closed",
        by=taken.by,
        target=audit.Target(f"incident {incident.pk}", incident.title),
        workspaces=[None],
        before={"ended_at": before["ended_at"], "reason": None},
        after={"ended_at": incident.ended_at, "reason": taken.reason},
    )
    return "The status page says that it is over."


def _lock(incident: Incident) -> None:
    Incident.objects.select_for_update(no_key=True).get(pk=incident.pk)


def _no_close(incident: Incident) -> str:
    if incident.ended_at is not None:
        return "It is over."
    return "It has not begun." if incident.began_at > datetime.now(UTC) else ""


CLOSE = Step(
    name="close",
    title="Close",
    text="Say on the status page that it is over now.",
    permission="proxy.change_incident",
    run=_close,
    facts=facts,
    lock=_lock,
    refusal=_no_close,
)


@admin.register(Incident)
class IncidentAdmin(Stepping, ReasonedAdmin):
    """What the status page tells everybody."""

    noun = "incident"
    steps = (CLOSE,)
    list_display = ("title", "began_at", "ended_at")
    list_filter = (("ended_at", admin.EmptyFieldListFilter),)

    def has_delete_permission(self, request: HttpRequest, obj: AnyModel | None = None) -> bool:
        """What was told is told."""
        return False
