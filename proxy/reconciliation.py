"""
Each day's usage against what each provider says it has cost.

Rows are read first, then the provider is asked with no transaction open, then one row per
(provider, day) is written: run again, or twice at once, it is written again. A report that
cannot be had is written down as unavailable; one that was had before stays. Operators are
told of drift and of reports that are missing, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final

import structlog
from django.conf import settings

from billing import incidents
from billing.models import Alert
from common import money
from common.crypto import UnreadableSecret
from proxy import evidence, provider_days
from proxy.costreports import READERS
from proxy.costreports.base import Asked, Told, Unavailable
from proxy.models import Provider, ProviderReport
from proxy.provider_days import ProviderDay

log = structlog.get_logger(__name__)

# Providers finish their figures late: the last days are asked for again.
DAYS: Final = 3
MOST_S: Final = 300.0
HUNDRED: Final = Decimal(100)
MOST_PERCENT: Final = Decimal(10) ** 7


def reconcile(*, today: date, days: int = DAYS) -> list[ProviderReport]:
    """Compare the days before today, for every provider that has a report."""
    providers = Provider.objects.exclude(cost_report=Provider.CostReport.NONE).order_by("slug")
    past = [today - timedelta(days=back) for back in range(days, 0, -1)]
    return [compare(provider=provider, day=day) for provider in providers for day in past]


def compare(*, provider: Provider, day: date) -> ProviderReport:
    """Ask a provider about one day, and write down how far its word is from ours."""
    ours = provider_days.of(slug=provider.slug, day=day)
    try:
        told = _ask(provider, day, ours)
    except Unavailable as error:
        return _unavailable(provider, day, ours, problem=str(error))
    incidents.end(kind=Alert.Kind.PROVIDER_UNAVAILABLE, subject=provider.slug)
    return _measured(provider, day, ours, told)


def drift_percent(*, ours: int, theirs: int) -> Decimal:
    """Return ours less theirs in per cent of theirs; all of ours where theirs is nothing."""
    if theirs == 0:
        return Decimal(0) if ours == 0 else HUNDRED.copy_sign(Decimal(ours))
    percent = (Decimal(ours) - theirs) * HUNDRED / abs(theirs)
    return max(-MOST_PERCENT, min(MOST_PERCENT, percent)).quantize(Decimal("0.0001"))


def _ask(provider: Provider, day: date, ours: ProviderDay) -> Told:
    reader = READERS.get(provider.cost_report)
    if reader is None:
        raise Unavailable(f"There is no report of the kind {provider.cost_report}.")
    asked = Asked(
        base_url=provider.base_url,
        key=_key(provider),
        day=day,
        calls=ours.calls,
        before=ours.before,
        price=ours.price,
    )

    async def ask() -> Told:
        async with evidence.client() as client, asyncio.timeout(MOST_S):
            return await reader(client, asked)

    try:
        return asyncio.run(ask())
    except TimeoutError:
        raise Unavailable(f"The report did not come within {MOST_S:.0f} seconds.") from None


def _key(provider: Provider) -> str:
    try:
        key = provider.cost_report_key()
        if not key and provider.cost_report != Provider.CostReport.OPENAI:
            key = provider.api_key()
    except UnreadableSecret:
        raise Unavailable("The key of the report is sealed with a key that is not there.") from None
    if not key:
        raise Unavailable("The provider has no key for its report: set cost_report_key_env.")
    return key


def _measured(provider: Provider, day: date, ours: ProviderDay, told: Told) -> ProviderReport:
    nanos = ours.nanos if told.ours_nanos is None else told.ours_nanos
    calls = len(ours.calls) if told.ours_calls is None else told.ours_calls
    percent = drift_percent(ours=nanos, theirs=told.nanos)
    missing = bool(told.missing_ours or told.missing_theirs)
    drifts = missing or abs(percent) > settings.DRIFT_ALERT_PERCENT
    report = ProviderReport(
        provider=provider,
        day=day,
        status=ProviderReport.Status.DRIFT if drifts else ProviderReport.Status.OK,
        ours_nanos=nanos,
        theirs_nanos=told.nanos,
        drift_percent=percent,
        ours_calls=calls,
        theirs_calls=told.calls,
        missing_ours=told.missing_ours,
        missing_theirs=told.missing_theirs,
        fetched_at=datetime.now(UTC),
    )
    _write(report)
    _tell(report)
    return report


def _unavailable(
    provider: Provider, day: date, ours: ProviderDay, *, problem: str
) -> ProviderReport:
    report = ProviderReport(
        provider=provider,
        day=day,
        status=ProviderReport.Status.UNAVAILABLE,
        ours_nanos=ours.nanos,
        ours_calls=len(ours.calls),
        problem=problem,
        fetched_at=datetime.now(UTC),
    )
    log.warning("A provider's report cannot be had", provider=provider.slug, problem=problem)
    # What was measured before says more than that it cannot be measured now.
    measured = ProviderReport.objects.filter(provider=provider, day=day)
    if not measured.exclude(status=ProviderReport.Status.UNAVAILABLE).exists():
        _write(report)
    incidents.begin(
        kind=Alert.Kind.PROVIDER_UNAVAILABLE,
        subject=provider.slug,
        facts={"day": day.isoformat(), "problem": problem},
    )
    return report


def _write(report: ProviderReport) -> None:
    names = [field.name for field in ProviderReport._meta.concrete_fields]
    once: Sequence[str] = ("provider", "day")
    ProviderReport.objects.bulk_create(
        [report],
        update_conflicts=True,
        unique_fields=once,
        update_fields=[name for name in names if name not in ("id", *once)],
    )


def _tell(report: ProviderReport) -> None:
    subject = f"{report.provider.slug} {report.day}"
    if report.status == ProviderReport.Status.OK:
        incidents.end(kind=Alert.Kind.PROVIDER_DRIFT, subject=subject)
        return
    incidents.begin(
        kind=Alert.Kind.PROVIDER_DRIFT,
        subject=subject,
        facts={
            "drift_percent": str(report.drift_percent),
            "ours_usd": money.usd(report.ours_nanos),
            "theirs_usd": money.usd(report.theirs_nanos or 0),
            "missing_ours": report.missing_ours,
            "missing_theirs": report.missing_theirs,
        },
    )
