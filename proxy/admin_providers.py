"""Providers in the admin site: how they do, what they cost, and a call that tries one out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model as AnyModel
from django.http import HttpRequest, HttpResponse

from billing.adminforms import ReasonedAdmin, ReasonedForm
from billing.adminsteps import Step, Stepping, Taken
from common import ids, money
from proxy import catalogue_file, provider_health, trials
from proxy.models import Provider, ProviderReport, Trial
from proxy.provider_health import Health

REPORTS = 14
TRIALS = 10
NEVER = Health()


class ProviderForm(ReasonedForm):
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

    def clean_base_url(self) -> str:
        """Take a plain address only, as the catalogue's file does."""
        text = str(self.cleaned_data["base_url"])
        if not catalogue_file.is_plain_url(text):
            raise forms.ValidationError("Write a plain http or https address.")
        return text

    def clean(self) -> dict[str, Any]:
        """Send no stored key to an address that it was not given for."""
        answers = super().clean()
        stored = getattr(self, "stored", None)
        if stored is None or _origin(answers.get("base_url", "")) == _origin(stored.base_url):
            return answers
        for name, sealed in (
            ("new_api_key", stored.api_key_encrypted),
            ("new_cost_report_key", stored.cost_report_key_encrypted),
        ):
            if sealed and not answers.get(name):
                self.add_error(name, "Another address needs its key again.")
        return answers


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _try(taken: Taken) -> str:
    trials.begin(provider=taken.row, reason=taken.reason, by=taken.by, token=taken.token)
    return "The call is on its way."


def _told(taken: Taken) -> str:
    trial = trials.make(token=taken.token)
    cost = f"{money.usd(trial.cost_nanos, at_least=6)} USD"
    cost = f"about {cost} (an estimate)" if trial.estimate else cost
    if trial.outcome == Trial.Outcome.ANSWERED:
        return f"Answered by {trial.upstream_model} in {trial.latency_ms} ms; it cost us {cost}."
    return f"No answer from {trial.upstream_model}: {trial.problem} It cost us {cost}."


TRY = Step(
    name="try",
    title="Test",
    text="Send one tiny real call with the stored key to the provider's cheapest model. What it"
    " costs is ours and is counted with the provider's other costs.",
    permission="proxy.change_provider",
    run=_try,
    refusal=trials.refusal,
    follow=_told,
)


@admin.register(Provider)
class ProviderAdmin(Stepping, ReasonedAdmin):
    """Who answers calls."""

    noun = "provider"
    form = ProviderForm
    steps = (TRY,)
    change_form_template = "admin/proxy/provider.html"
    list_display = (
        "slug", "kind", "enabled", "has_api_key", "breaker", "error_rate", "latency",
        "today_usd", "month_usd", "drift", "last_used",
    )  # fmt: skip
    search_fields = ("slug",)
    readonly_fields = ("has_api_key", "updated_at")

    def has_delete_permission(self, request: HttpRequest, obj: AnyModel | None = None) -> bool:
        """Nobody deletes what receipts refer to."""
        return False

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Read how all do at once, for the rows of this page."""
        listed = super().get_changelist_instance(request)
        found = provider_health.read(now=datetime.now(UTC))
        rows = list(cast("Any", listed.result_list))
        for row in rows:
            row.health = found.get(row.slug, NEVER)
        listed.result_list = rows
        return listed

    @admin.display(boolean=True, description="API key set")
    def has_api_key(self, provider: Provider) -> bool:
        """Whether a key is stored."""
        return bool(provider.api_key_encrypted)

    @admin.display(description="Breaker")
    def breaker(self, provider: Any) -> str:
        """The state of its breakers."""
        return str(provider.health.state)

    @admin.display(description="Errors, 1 h")
    def error_rate(self, provider: Any) -> str:
        """The share of attempts that won nothing."""
        health: Health = provider.health
        return f"{health.error_rate * 100:.1f} % of {health.calls}" if health.calls else "-"

    @admin.display(description="Median, 1 h")
    def latency(self, provider: Any) -> str:
        """How long an attempt takes."""
        return "-" if provider.health.median_ms is None else f"{provider.health.median_ms} ms"

    @admin.display(description="Today, USD")
    def today_usd(self, provider: Any) -> str:
        """What it costs today."""
        return money.usd(provider.health.spend.today, at_least=6)

    @admin.display(description="Month, USD")
    def month_usd(self, provider: Any) -> str:
        """What it costs this month."""
        return money.usd(provider.health.spend.month, at_least=6)

    @admin.display(description="Drift")
    def drift(self, provider: Any) -> str:
        """How far its own word is from ours, on the last day it told."""
        report: ProviderReport | None = provider.health.report
        if report is None:
            return "-"
        if report.drift_percent is None:
            return f"{report.day}: {report.status}"
        return f"{report.drift_percent:.2f} % ({report.day})"

    @admin.display(description="Last used")
    def last_used(self, provider: Any) -> str:
        """When it was last called."""
        last = provider.health.last_used
        if isinstance(last, datetime):
            return last.strftime("%Y-%m-%d %H:%M:%S")
        return "-" if last is None else str(last)

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        """Seal new keys, then save."""
        if form.cleaned_data["new_api_key"]:
            obj.set_api_key(form.cleaned_data["new_api_key"])
        if form.cleaned_data["new_cost_report_key"]:
            obj.set_cost_report_key(form.cleaned_data["new_cost_report_key"])
        super().save_model(request, obj, form, change)

    def secrets_changed(self, form: Any) -> dict[str, Any]:
        """Which keys were replaced."""
        names = ("new_api_key", "new_cost_report_key")
        return {name: "set" for name in names if form.cleaned_data.get(name)}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show how a provider does above its form."""
        provider = self.get_object(request, unquote(object_id))
        known: dict[str, Any] = dict(extra_context or {})
        if provider is not None and self.has_view_permission(request, provider):
            known |= _facts(provider)
        return super().change_view(request, object_id, form_url, known)


def _facts(provider: Provider) -> Mapping[str, Any]:
    health = provider_health.read(now=datetime.now(UTC)).get(provider.slug, NEVER)
    reports = ProviderReport.objects.filter(provider=provider).order_by("-day")
    tried = provider.trials.select_related("created_by").order_by("-at")
    return {
        "health": health,
        "reports": list(reports[:REPORTS]),
        "trials": [(ids.form("req_", each.id), each) for each in tried[:TRIALS]],
    }
