"""What was used in a range of days: a chart, a table, a file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from accounts import seats
from accounts.scopes import Scope
from accounts.seats import Seat, seated
from billing import breakdowns
from billing.breakdowns import Line
from common import csvtext, money
from proxy.forms import DayInput
from proxy.timeseries import MEASURES, series

PRESETS: Final = (7, 30, 90)
USUAL_DAYS: Final = 30
MOST_DAYS: Final = 400
COLUMNS: Final = (
    "requests",
    "errors",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "pictures",
)


@dataclass(frozen=True, slots=True)
class Preset:
    """A range to choose with one click."""

    days: int
    first: date
    last: date
    chosen: bool


class UsageForm(forms.Form):
    """Which days, by what, and what the chart shows."""

    since = forms.DateField(label=gettext_lazy("From (UTC)"), widget=DayInput)
    until = forms.DateField(label=gettext_lazy("To (UTC)"), widget=DayInput)
    by = forms.ChoiceField(
        label=gettext_lazy("Group by"),
        choices=(
            ("model", gettext_lazy("Model")),
            ("key", gettext_lazy("Key")),
            ("workspace", gettext_lazy("Workspace")),
            ("day", gettext_lazy("Day")),
        ),
    )
    show = forms.ChoiceField(
        label=gettext_lazy("Chart"),
        choices=[(measure.name, measure.title) for measure in MEASURES.values()],
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a range that is none, or too long."""
        asked: dict[str, Any] = super().clean() or {}
        since, until = asked.get("since"), asked.get("until")
        if since and until and since > until:
            self.add_error("since", _("The first day is after the last."))
        elif since and until and (until - since).days >= MOST_DAYS:
            words = _("At most %(days)d days are shown at once.") % {"days": MOST_DAYS}
            self.add_error("since", words)
        return asked


@require_safe
@seated
def usage(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The page."""
    seat.require(Scope.USAGE_READ)
    form = _form(request)
    if not form.is_valid():
        return render(request, "dashboard/usage/page.html", {"form": form}, status=400)
    found = breakdowns.read(**_asked(request, seat, form))
    context = {
        "form": form,
        "breakdown": found,
        "chart": series(breakdown=found, measure=MEASURES[form.cleaned_data["show"]]),
        "presets": _presets(form),
        "query": urlencode({field.name: str(field.value()) for field in form}),
    }
    return render(request, "dashboard/usage/page.html", context)


@require_safe
@seated
def usage_csv(request: HttpRequest, seat: Seat) -> HttpResponse:
    """The table of the page as a file; with ``per=day`` that of its chart."""
    seat.require(Scope.USAGE_READ)
    form = _form(request)
    if not form.is_valid():
        return render(request, "dashboard/usage/page.html", {"form": form}, status=400)
    asked = _asked(request, seat, form)
    by, per_day = asked["by"], request.GET.get("per") == "day"
    rows: list[list[Any]] = [[*["day"] * per_day, by, "id", *COLUMNS, "cost_usd"]]
    if per_day:
        rows += [[day.isoformat(), *_cells(line)] for day, line in breakdowns.daily(**asked)]
    else:
        rows += [_cells(line) for line in breakdowns.sums(**asked)]
    name = f"usage-{asked['first']}-{asked['last']}-by-{by}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    text = csvtext.lines(rows)
    return HttpResponse(text, content_type="text/csv; charset=utf-8", headers=headers)


def _cells(line: Line) -> list[Any]:
    counts = [getattr(line.used, name) for name in COLUMNS]
    return [line.label, line.public_id, *counts, money.usd(line.used.spent, at_least=6)]


def _form(request: HttpRequest) -> UsageForm:
    """The form as it was sent; what is left out has its usual value."""
    today = timezone.now().date()
    given = request.GET.copy()
    usual = {
        "since": (today - timedelta(days=USUAL_DAYS - 1)).isoformat(),
        "until": today.isoformat(),
        "by": "model",
        "show": "cost",
    }
    for name, value in usual.items():
        given.setdefault(name, value)
    return UsageForm(given)


def _asked(request: HttpRequest, seat: Seat, form: UsageForm) -> dict[str, Any]:
    asked = form.cleaned_data
    places = [seat.workspace]
    if asked["by"] == "workspace":
        mine = (other for other in seats.seats(request) if other.may(Scope.USAGE_READ))
        places = [other.workspace for other in mine]
    return {
        "workspaces": places,
        "by": asked["by"],
        "first": asked["since"],
        "last": asked["until"],
    }


def _presets(form: UsageForm) -> list[Preset]:
    today = timezone.now().date()
    asked = form.cleaned_data
    return [
        Preset(
            days=days,
            first=today - timedelta(days=days - 1),
            last=today,
            chosen=asked["until"] == today and (today - asked["since"]).days == days - 1,
        )
        for days in PRESETS
    ]
