"""The parts that pages are made of, on one page for staff: each from the include that pages use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from billing import breakdowns
from billing.breakdowns import Breakdown, Line
from billing.pricing import Rates, Tokens
from billing.selectors import Cap
from billing.summaries import Used
from common import money
from proxy import itemised
from proxy.forms import DayInput
from proxy.timeseries import MEASURES, series

DAYS: Final = 14
NOW: Final = datetime(2030, 1, 31, 12, tzinfo=UTC)
LEVELS: Final = ("success", "warning", "error")
USD: Final = money.NANOS_PER_USD


@dataclass(frozen=True, slots=True)
class Toast:
    """A message as Django's own look to a template."""

    level_tag: str
    text: str

    def __str__(self) -> str:
        return self.text


class SampleForm(forms.Form):
    """One row of each kind."""

    name = forms.CharField(label="Text", help_text="What helps to fill it in.")
    day = forms.DateField(label="A day", widget=DayInput)
    choice = forms.ChoiceField(label="Choice", choices=[("a", "First"), ("b", "Second")])
    several = forms.MultipleChoiceField(
        label="Several",
        choices=[("a", "First"), ("b", "Second")],
        widget=forms.CheckboxSelectMultiple,
    )
    agreed = forms.BooleanField(label="A box to tick")


@require_safe
def components(request: HttpRequest) -> HttpResponse:
    """The page; only staff who have used their second factor see it."""
    return _door(request)


def _page(request: HttpRequest) -> HttpResponse:
    rates = Rates(prompt=1_000_000, completion=2_000_000)
    context = {
        "form": SampleForm(),
        "wrong": SampleForm({"day": "soon"}),
        "chart": series(breakdown=_usage(), measure=MEASURES["cost"]),
        "lines": series(breakdown=_usage(), measure=MEASURES["latency"]),
        "caps": [Cap(0, None), Cap(USD, 2 * USD), Cap(9 * USD, 10 * USD), Cap(USD, USD)],
        "items": itemised.priced(rates=rates, tokens=Tokens(input=1000, output=500)),
        "statuses": [
            {"status": 200},
            {"status": 200, "cancelled": True},
            {"status": 200, "unknown": True},
            {"status": 502, "failed": True, "reason": "upstream_failed"},
        ],
        "moment": NOW,
        "messages": [Toast(level, f"This is how {level} looks.") for level in LEVELS],
        "levels": ("info", *LEVELS),
    }
    return render(request, "admin/components.html", context)


_door: Final = admin.site.admin_view(_page)


def _usage() -> Breakdown:
    days = [NOW.date() - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    lines = [_line(label, days, step) for label, step in (("a/large", 7), ("b/small", 3))]
    daily = {day: breakdowns.added(line.days[day] for line in lines) for day in days}
    return Breakdown("model", days, lines, breakdowns.added(daily.values()), daily)


def _line(label: str, days: list[date], step: int) -> Line:
    found = {
        day: Used(
            requests=at + 1, spent=(at * step % 11 + 1) * USD, latencies=1, latency_ms=90 * step
        )
        for at, day in enumerate(days)
    }
    return Line(label, "", breakdowns.added(found.values()), found)
