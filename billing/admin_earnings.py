"""The dashboard of the house: revenue, cost, margin, customers, failures; each table as CSV too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models.options import Options
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from billing import earnings
from billing.earnings import Earnings, Line
from common import csvtext, money

RANGES: Final = (1, 7, 30, 90)
SHOWN: Final = 30
MONEY: Final = (
    "requests", "errors", "revenue_usd", "upstream_cost_usd", "margin_usd", "margin_percent",
    "uncollected_units", "unknown",
)  # fmt: skip


def view(
    request: HttpRequest, *, site: AdminSite, opts: Options[Any], allowed: bool
) -> HttpResponse:
    """Show a range of days, or one of its tables as CSV."""
    if not allowed:
        raise PermissionDenied
    asked = request.GET.get("days", "")
    days = int(asked) if asked in map(str, RANGES) else SHOWN
    today = datetime.now(UTC).date()
    found = earnings.read(first=today - timedelta(days=days - 1), last=today)
    table = request.GET.get("csv", "")
    if table in TABLES:
        return _file(found, table, today)
    context = {
        **site.each_context(request),
        "opts": opts,
        "title": "Earnings",
        "ranges": RANGES,
        "days": days,
        "found": found,
        "tables": [
            ("days", "By day", "Day (UTC)", found.days),
            ("customers", "Top customers", "Customer", found.customers),
            ("models", "Models", "Model", found.models),
            ("providers", "Providers", "Provider", found.providers),
        ],
    }
    return TemplateResponse(request, "admin/billing/earnings.html", context)


def _file(found: Earnings, table: str, today: date) -> HttpResponse:
    text = csvtext.lines(TABLES[table](found))
    answer = HttpResponse(text, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="earnings-{table}-{today}.csv"'
    return answer


def _money(name: str, lines: Sequence[Line]) -> Iterable[Sequence[Any]]:
    yield (name, *MONEY)
    for line in lines:
        used = line.used
        share = "" if line.margin_share is None else f"{line.margin_share * 100:.2f}"
        amounts = (used.spent, used.upstream_cost, line.margin)
        usd = [money.usd(amount, at_least=6) for amount in amounts]
        yield (
            line.name, used.requests, used.errors, *usd, share, used.uncollected, used.unknown,
        )  # fmt: skip


def _failures(found: Earnings) -> Iterable[Sequence[Any]]:
    yield ("provider", "model", "reason", "calls")
    for each in found.failures:
        yield (each.provider, each.model, each.reason, each.calls)


TABLES: Final[dict[str, Callable[[Earnings], Iterable[Sequence[Any]]]]] = {
    "days": lambda found: _money("day", found.days),
    "customers": lambda found: _money("customer", found.customers),
    "models": lambda found: _money("model", found.models),
    "providers": lambda found: _money("provider", found.providers),
    "failures": _failures,
}
