"""Calls that staff resolve, and calls that staff made to try providers out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model as AnyModel
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from billing.adminrows import CALL_UNITS, ReadOnlyAdmin, amount, in_words
from billing.adminsteps import Step, StepForm, SteppedAdmin, Taken
from common import ids
from proxy import unknowns
from proxy.models import Trial, UnknownCall
from proxy.wire.answers import Usage

RESOLVE = "accounts.resolve_calls"
MOST_TOKENS = 2**31


class EvidenceForm(StepForm):
    """What a provider's own records say of a call."""

    route = forms.ChoiceField()
    upstream_id = forms.CharField(
        label="The provider's id of the call", required=False, max_length=200
    )
    input = forms.IntegerField(label="Input tokens", min_value=0, max_value=MOST_TOKENS)
    cached = forms.IntegerField(
        label="Cached input tokens", min_value=0, max_value=MOST_TOKENS, initial=0,
        help_text="Not among the input tokens.",
    )  # fmt: skip
    output = forms.IntegerField(label="Output tokens", min_value=0, max_value=MOST_TOKENS)

    def __init__(self, *arguments: Any, row: UnknownCall, **named: Any) -> None:
        super().__init__(*arguments, row=row, **named)
        choices = [(each.route.pk, each.route.subject) for each in unknowns.candidates(row.pk)]
        self.fields["route"] = forms.ChoiceField(choices=choices)
        self.order_fields(
            ["route", *(name for name in self.fields if name not in ("route", "reason"))]
        )


def _charge(taken: Taken) -> str:
    form = taken.form
    usage = unknowns.charge(
        call_id=taken.row.pk,
        route_id=int(form["route"]),
        usage=Usage(
            input=form["input"],
            cached=form["cached"],
            cache_write=0,
            output=form["output"],
            reasoning=0,
        ),
        upstream_id=form["upstream_id"],
        reason=taken.reason,
        by=taken.by,
    )
    charged, lost = (in_words(each, usage.asset) for each in (usage.charged, usage.uncollected))
    return f"Charged {charged}; {lost} could not be collected."


def _let_go(taken: Taken) -> str:
    unknowns.let_go(call_id=taken.row.pk, reason=taken.reason, by=taken.by)
    return "Nothing is charged."


CHARGE = Step(
    name="charge",
    title="Charge on evidence",
    text="Write what the provider's own records say that the call used. It is charged at the price"
    " it was admitted at, never above what was held, and only as far as there is money.",
    permission=RESOLVE,
    form=EvidenceForm,
    run=_charge,
)
LET_GO = Step(
    name="let_go",
    title="Let go",
    text="Charge nothing, for good: later evidence changes nothing any more.",
    permission=RESOLVE,
    run=_let_go,
)


@admin.register(UnknownCall)
class UnknownCallAdmin(SteppedAdmin):
    """Calls of which nobody knows what they used: nothing was charged, staff decide."""

    steps = (CHARGE, LET_GO)
    list_display = (
        "request_id", "closed_at", "workspace", "key", "model", "surface", "held", "reason",
    )  # fmt: skip
    units = CALL_UNITS
    list_select_related = ("workspace", "key")
    search_fields = ("=id",)
    ordering = ("-closed_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[UnknownCall]:
        """Return those that are open; an index of its own has them."""
        return UnknownCall.objects.filter(unknown=True)

    @admin.display(description="Request")
    def request_id(self, call: UnknownCall) -> str:
        """The id as the caller was told it."""
        return ids.form("req_", call.pk)

    @admin.display(description="Held")
    def held(self, call: UnknownCall) -> str:
        """The most that it can have cost."""
        return in_words(call.hold, call.asset)

    def done_url(self, row: AnyModel) -> str:
        """Lead back to the list: the call is on it no more."""
        return reverse("admin:proxy_unknowncall_changelist")


@admin.register(Trial)
class TrialAdmin(ReadOnlyAdmin):
    """Calls that tried providers out: what they cost is ours."""

    list_display = (
        "at", "provider", "upstream_model", "outcome", "status", "problem", "latency_ms",
        amount("cost_nanos", "Cost", unit="nanos"), "estimate", "created_by",
    )  # fmt: skip
    list_filter = ("provider", "outcome")
    list_select_related = ("provider", "created_by")
